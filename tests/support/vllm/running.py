"""Language models as a worker's vLLM engine runs them, with a real vLLM or one that is made up."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.vllm.load import load
from daiic.worker.memory.budget import MemoryBudget

REAL = os.environ.get("DAIIC_VLLM", "")
"""The folder of a real vLLM's program, for those who have one."""
FAKE = Path(__file__).with_name("made_up.py")
BUDGET = MemoryBudget(vram_bytes=0, ram_bytes=6 << 30)


def use(program: str, place: Path, patch: pytest.MonkeyPatch) -> None:
    """Let engines find `program`: "made up" or "real"; skip what is not here."""
    if program == "real":
        if not REAL:
            pytest.skip("needs DAIIC_VLLM=<folder with a vllm program>")
        patch.setenv("PATH", f"{REAL}{os.pathsep}{os.environ['PATH']}")
        return
    launcher = place / "vllm"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    launcher.chmod(0o755)
    patch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")


@contextlib.asynccontextmanager
async def serving(path: Path, *, options: LoadOptions | None = None) -> AsyncIterator[Engine]:
    """Load the model at `path`, and unload it at the end."""
    options = options or LoadOptions(backend("cpu"), slots=4)
    engine = await load(path, options, BUDGET, lambda done: None)
    try:
        yield engine
    finally:
        await engine.close()
