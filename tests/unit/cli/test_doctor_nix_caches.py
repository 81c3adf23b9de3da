"""What `daiic doctor` says of Nix's binary caches, by programs that these tests write as nix."""

import os
import time
from pathlib import Path

import pytest

from daiic.cli import nix_cache_checks
from daiic.cli.findings import Finding
from daiic.cli.machine_checks import AMD, NVIDIA
from daiic.cli.nix_cache_checks import CUDA, NIXOS, check_nix_caches

SETTINGS = {
    "substitute": "true",
    "substituters": f"{NIXOS.url}/ {CUDA.url}?priority=41",
    "trusted-public-keys": f"{NIXOS.key} {CUDA.key}",
}


class Nix:
    """A folder in front of PATH with a program called nix."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "nix"

    def does(self, script: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)

    def has(self, *, command: str = "config show", **changes: str) -> None:
        """Print these settings for `command`, and fail for any other."""
        changed = {name.replace("_", "-"): value for name, value in changes.items()}
        lines = "\n".join(f"{name} = {value}" for name, value in (SETTINGS | changed).items())
        self.does(
            f'[ "$*" = "--extra-experimental-features nix-command {command}" ] || exit 1\n'
            f"cat <<'END'\n{lines}\nEND"
        )


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nix:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Nix(tmp_path)


def only(vendor: str) -> Finding:
    (finding,) = check_nix_caches({vendor})
    return finding


def test_cuda_is_fetched_where_its_cache_and_key_are_configured(nix: Nix) -> None:
    nix.has()
    assert only(NVIDIA) == Finding(
        "ok", "Nix caches", "Nix looks for CUDA builds at https://cache.nixos-cuda.org"
    )


def test_older_nix_is_asked_by_its_older_command(nix: Nix) -> None:
    nix.has(command="show-config")
    assert (only(NVIDIA)).level == "ok"


def test_without_its_cache_cuda_would_be_compiled_and_the_advice_has_both_settings(
    nix: Nix,
) -> None:
    nix.has(substituters=NIXOS.url)
    finding = only(NVIDIA)
    assert finding.level == "warning"
    assert "compile" in finding.says
    assert CUDA.url in finding.advice and CUDA.key in finding.advice


def test_a_cache_without_its_key_gives_nothing(nix: Nix) -> None:
    nix.has(trusted_public_keys=NIXOS.key)
    finding = only(NVIDIA)
    assert finding.level == "warning" and "trusted-public-keys" in finding.says


def test_nothing_is_fetched_where_substitution_is_off(nix: Nix) -> None:
    nix.has(substitute="false")
    assert (only(NVIDIA)).level == "warning"


def test_rocm_needs_nixos_own_cache_alone(nix: Nix) -> None:
    nix.has(substituters=f"{NIXOS.url}/", trusted_public_keys=NIXOS.key)
    assert (only(AMD)).level == "ok"
    nix.has(substituters=CUDA.url)
    assert NIXOS.url in (only(AMD)).says


def test_a_machine_without_a_gpu_or_without_nix_has_nothing_to_read(
    nix: Nix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nix.has()
    assert check_nix_caches(set()) == []
    nix.program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_nix_caches({NVIDIA}) == []


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "exit 0",
        "printf 'substituters = \\377\\033[2J'; exit 3",
        "while :; do echo 'substituters = x'; done",
    ],
    ids=["fails", "says nothing", "fails late", "never stops writing"],
)
def test_a_nix_that_does_not_answer_is_a_note(nix: Nix, script: str) -> None:
    nix.does(script)
    finding = only(NVIDIA)
    assert finding.level == "note" and "nix did not say" in finding.says


def test_a_nix_that_hangs_is_ended_and_its_children_with_it(
    nix: Nix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nix_cache_checks, "PATIENCE", 1.0)
    nix.does(f"sleep 1000 &\necho $! > {tmp_path}/child\nwait")
    assert (only(NVIDIA)).level == "note"
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    while child.exists() and child.read_text().split()[2] != "Z":
        time.sleep(0.05)


def test_words_from_nix_do_not_reach_the_terminal(nix: Nix) -> None:
    nix.has(substituters="https://\x1b[2J.example http://[")
    finding = only(NVIDIA)
    assert finding.level == "warning"
    assert "\x1b" not in finding.says + finding.advice
