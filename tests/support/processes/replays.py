"""`hydramesh policy replay`, as a test runs it."""

import json
import os
import subprocess
from typing import Any

from support.processes.daemon import PATIENCE
from support.processes.heads import Head


def replay(kind: Head, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*kind.command, "policy", "replay", *map(str, arguments)],
        env={**os.environ, **kind.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def found(kind: Head, *arguments: object) -> dict[str, Any]:
    """Return what a replay, which must succeed, tells in JSON."""
    done = replay(kind, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told
