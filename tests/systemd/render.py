"""Writes the units and settings of every whole-machine test as the Nix modules give them.

Run after a change of modules/ or of tests/nixos/scenarios.nix; commit what it
writes.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RENDERED = HERE / "rendered"


def expected(scenarios: dict[str, dict[str, dict[str, object]]]) -> dict[str, str]:
    """Return the files that belong under rendered/, by relative path."""
    files: dict[str, str] = {}
    for scenario, machines in scenarios.items():
        for machine, evaluated in machines.items():
            folder = f"{scenario}/{machine}"
            hardware = {key: evaluated[key] for key in ("cores", "memorySize")}
            files[f"{folder}/machine.json"] = json.dumps(hardware, indent=2) + "\n"
            for kind in ("units", "settings"):
                for name, text in dict(evaluated[kind]).items():  # type: ignore[call-overload]
                    files[f"{folder}/{name}"] = text
    return files


def main() -> int:
    """Evaluate, write, and say what was written."""
    nix = HERE.parent / "nix"
    done = subprocess.run(
        [
            *("nix-instantiate", "--eval", "--strict", "--json", "--attr", "scenarios"),
            *("--arg", "lib", f"import {nix}/shaped/lib.nix", str(nix / "evaluate.nix")),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    shutil.rmtree(RENDERED, ignore_errors=True)
    files = expected(json.loads(done.stdout))
    for path, text in files.items():
        (RENDERED / path).parent.mkdir(parents=True, exist_ok=True)
        (RENDERED / path).write_text(text)
    print(f"{len(files)} files under {RENDERED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
