"""How long HydraMesh takes to choose one of 100 workers, by a policy of 50 rules and by none.

A part of hydramesh.py. It is processor time in one Lisp process (decisions.lisp), through the code
that places tasks in a head, and all rules match the task.
"""

import subprocess
from pathlib import Path

from support.processes import built

BUILD = Path(built.WORKSPACE) / "hydramesh" / "build.sh"


def measure_decisions() -> None:
    """Run it and print both."""
    said = subprocess.run(
        [BUILD, "lisp", "--load", Path(__file__).with_suffix(".lisp"), "--quit"],
        capture_output=True,
        text=True,
    )
    if said.returncode:
        raise SystemExit(f"decisions are not measured: {said.stderr[-2000:]}")
    print("-- a decision among 100 workers that have the model")
    for line in said.stdout.splitlines():
        word, *rest = line.split(" ", 3)
        if word == "decision":
            microseconds, size, title = rest
            print(f"{title:28} {float(microseconds):7.1f} µs   {int(size):6d} bytes", flush=True)
