"""What .ci/nix lists and packs, with a program that these tests write as nix."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Answers as Nix does for a flake with two images, which write 300 bytes each, and a live system.
NIX = r"""#!/bin/sh
case "$*" in
"eval --raw .#packages."*) printf 'daiic\nmesh-head\nmesh-shim' ;;
"eval --raw .#devShells."*) printf 'default' ;;
"eval --raw .#checks.x86_64"*) printf 'cluster'; exit "${CHECKS_FAIL:-0}" ;;
"build --no-link --print-out-paths .#packages.x86_64-linux.mesh-"*) echo "$STORE/image" ;;
"build --no-link --print-out-paths .#packages.x86_64-linux.iso") echo "$STORE/iso" ;;
"build --no-link --print-out-paths .#nixosConfigurations."*) echo "$STORE/system" ;;
"run --inputs-from . nixpkgs#sbomnix -- --cdx "*)
  echo "of ${12}" > "$7"; echo "of ${12}" > "$9"; echo "of ${12}" > "${11}" ;;
*) echo "not expected: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/nix", tmp_path / ".ci/nix")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nix").write_text(NIX)
    (tmp_path / "store/iso/iso").mkdir(parents=True)
    (tmp_path / "store/iso/iso/daiic-live-1.0.iso").write_bytes(os.urandom(2500))
    (tmp_path / "store/image").write_text("#!/bin/sh\nhead -c 300 /dev/urandom\n")
    for program in ("bin/nix", "store/image"):
        (tmp_path / program).chmod(0o755)
    return tmp_path


def run(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{tree / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [tree / ".ci/nix", *arguments],
        env=os.environ | {"PATH": path, "STORE": str(tree / "store")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_outputs_of_both_systems_are_listed_and_the_checks_of_the_one_with_kvm(tree: Path) -> None:
    done = run(tree, "outputs")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    for system in ("x86_64-linux", "aarch64-linux"):
        assert f"packages.{system}.mesh-head" in listed
        assert f"devShells.{system}.default" in listed
        assert f"formatter.{system}" in listed
    assert [name for name in listed if "checks" in name] == ["checks.x86_64-linux.cluster"]


def test_a_flake_that_does_not_evaluate_is_not_an_empty_list(tree: Path) -> None:
    assert run(tree, "outputs", CHECKS_FAIL="1").returncode != 0


def test_a_release_has_every_file_in_a_size_that_can_be_published_and_its_checksum(
    tree: Path,
) -> None:
    done = run(tree, "release", DAIIC_RELEASE_FILE_BYTES="1000")
    assert done.returncode == 0, done.stderr
    made = {path.name: path.read_bytes() for path in (tree / "dist-nix").iterdir()}
    sums = made.pop("SHA256SUMS-nix").decode()
    assert sums == "".join(
        f"{hashlib.sha256(made[name]).hexdigest()}  {name}\n" for name in sorted(made)
    )
    assert all(len(content) <= 1000 for content in made.values())
    images = [f"daiic-mesh-{role}-x86_64-linux" for role in ("head", "shim")]
    sboms = [
        f"{of}.{kind}.json"
        for of in [*images, "daiic-live-x86_64-linux"]
        for kind in ("cdx", "spdx")
    ]
    parts = [f"daiic-live-1.0.iso.0{number}.part" for number in (1, 2, 3)]
    assert set(made) == {*sboms, *parts, *(f"{image}.tar.gz" for image in images)}
    live = (tree / "store/iso/iso/daiic-live-1.0.iso").read_bytes()
    assert b"".join(made[part] for part in parts) == live
    assert made["daiic-live-x86_64-linux.cdx.json"] == f"of {tree}/store/system\n".encode()


def test_no_command_is_told_which_there_are(tree: Path) -> None:
    done = run(tree)
    assert done.returncode == 2 and ".ci/nix release" in done.stderr
