"""What DAIIC's Nix modules evaluate to, obtained once and shared by the tests that look at it.

They are evaluated with the module system of shaped/modules.nix, or with that
of the nixpkgs that DAIIC_NIXPKGS names. Where an evaluation was made before
(the flake's checks do that), DAIIC_NIX_EVALUATION names its JSON instead and
no Nix is needed.
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


def nixpkgs() -> Path | None:
    """Return the nixpkgs that DAIIC_NIXPKGS names; fail the test that asked where it is none."""
    named = os.environ.get("DAIIC_NIXPKGS")
    if not named:
        return None
    path = Path(named).resolve()
    if not (path / "nixos" / "lib" / "eval-config.nix").is_file():
        pytest.fail(f"DAIIC_NIXPKGS={named} has no nixos/lib/eval-config.nix; name a whole nixpkgs")
    return path


SHAPED_LIBRARY = f"import {HERE}/shaped/lib.nix"


def library() -> str:
    """Return a Nix expression for the `lib` to evaluate with: nixpkgs' own where there is one."""
    whole = nixpkgs()
    if whole is None:
        return SHAPED_LIBRARY
    return f"(import {HERE}/whole/since_24_11.nix {{ nixpkgs = {whole}; }}).lib"


def evaluate(*arguments: str, lib: str | None = None) -> Any:
    """Return the JSON of evaluate.nix with these arguments."""
    done = nix_instantiate(
        *("--eval", "--strict", "--json", str(HERE / "evaluate.nix")),
        *("--arg", "lib", lib or library(), *arguments),
    )
    if done.returncode != 0:
        pytest.fail(f"the modules do not evaluate:\n{done.stderr}")
    return json.loads(done.stdout)


def changed_tree(folder: Path, file: str, old: str, new: str) -> Path:
    """Copy the work tree into a folder with one passage of one file replaced; return the folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    for path in listed:
        if path and (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, folder / path)
    text = (folder / file).read_text()
    assert text.count(old) == 1, f"{file} no longer says {old!r} once"
    (folder / file).write_text(text.replace(old, new))
    return folder


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
