"""Text is batched with the transformers of the NixOS packages as with the one that is installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FLOOR = ROOT / ".venv/floor"


def made(path: str) -> Any:
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/models/batched_texts.py"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    not FLOOR.is_dir(), reason="needs .venv/floor, from tests/support/models/floor.sh .venv/floor"
)
def test_the_packaged_version_batches_the_same_texts() -> None:
    packaged = re.search(r'version = "(5[\d.]+)"', (ROOT / "pkgs/transformers.nix").read_text())
    assert packaged
    floor = made(str(FLOOR))
    assert floor["version"] == packaged[1]
    assert floor["texts"] == made("")["texts"]
