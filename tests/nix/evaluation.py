"""What DAIIC's Nix modules evaluate to, obtained once and shared by the tests that look at it.

nixpkgs' `lib` is named by DAIIC_NIXPKGS_LIB. Where an evaluation was made
before (the flake's checks do that), DAIIC_NIX_EVALUATION names its JSON
instead and no Nix is needed.
"""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def nix_instantiate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run nix-instantiate, which then writes nowhere but to a folder that is thrown away.

    Skips the test that asked, with the reason, where there is no Nix.
    """
    program = shutil.which("nix-instantiate")
    if program is None:
        pytest.skip("nix-instantiate is not installed (Debian: apt-get install nix-bin)")
    return subprocess.run(
        [program, "--option", "build-users-group", "", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def evaluate(*arguments: str) -> Any:
    """Return the JSON of evaluate.nix with nixpkgs' lib and these arguments.

    Skips the test that asked where there is no lib.
    """
    lib = os.environ.get("DAIIC_NIXPKGS_LIB")
    if not lib:
        pytest.skip("modules not evaluated: DAIIC_NIXPKGS_LIB does not name nixpkgs' lib folder")
    lib_path = Path(lib).resolve()
    if not (lib_path / "default.nix").is_file():
        pytest.fail(f"DAIIC_NIXPKGS_LIB={lib} has no default.nix; name the lib folder of a nixpkgs")
    done = nix_instantiate(
        *("--eval", "--strict", "--json", str(HERE / "evaluate.nix")),
        *("--arg", "lib", f"import {lib_path}", *arguments),
    )
    if done.returncode != 0:
        pytest.fail(f"the modules do not evaluate:\n{done.stderr}")
    return json.loads(done.stdout)


@functools.cache
def evaluation() -> dict[str, Any]:
    """Return what evaluate.nix says: configurations, scenarios and options."""
    made_before = os.environ.get("DAIIC_NIX_EVALUATION")
    if made_before:
        return dict(json.loads(Path(made_before).read_text()))
    return dict(evaluate())


def configuration(name: str) -> dict[str, Any]:
    """Return what became of one machine of configurations.nix."""
    return dict(evaluation()["configurations"][name])


def unit(name: str, role: str) -> dict[str, list[str]]:
    """Return the lines of a role's unit on one machine, as key to its values in order."""
    lines: dict[str, list[str]] = {}
    for line in configuration(name)["units"][f"daiic-{role}.service"].splitlines():
        key, separator, value = line.partition("=")
        if separator:
            lines.setdefault(key, []).append(value)
    return lines
