"""Every Nix file parses; tests that skip say what could not be evaluated."""

import shutil
import subprocess

import pytest

from nix.evaluation import ROOT, nix_instantiate


def test_every_nix_file_parses() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.nix"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "modules/worker.nix" in listed
    done = nix_instantiate("--parse", *(str(ROOT / path) for path in listed))
    assert done.returncode == 0, done.stderr


def test_shell_scripts_are_sound() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    scripts = [ROOT / "pkgs/gpu-detect.sh", ROOT / "iso/choose-role.sh"]
    done = subprocess.run([program, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
