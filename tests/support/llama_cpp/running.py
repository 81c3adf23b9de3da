"""GGUF models as a worker's engine runs them, with Debian's llama-server or PyPI's."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.llama_cpp.load import load
from daiic.worker.memory.budget import MemoryBudget

ROOT = Path(__file__).parents[3]
PROGRAMS = ROOT / ".venv" / "llama.cpp" / "bin"
PATH = {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
"""The environment of a worker that finds Debian's programs."""
LENDING = [
    pytest.mark.skipif(
        not (PROGRAMS / "ggml-rpc-server").exists(),
        reason="needs tests/support/llama_cpp/fetch.sh .venv/llama.cpp",
    ),
    pytest.mark.skipif(shutil.which("stunnel") is None, reason="needs stunnel"),
]
"""What tests of models over several machines are marked with."""
ROOM = 8 << 30
WITHOUT = os.pathsep.join(
    path
    for path in os.environ.get("PATH", "").split(os.pathsep)
    if not (Path(path) / "llama-server").exists()
)


def use(program: str, patch: pytest.MonkeyPatch) -> None:
    """Let engines find `program`: "debian", "wheel" or "none"; skip what is not here."""
    if program == "debian":
        if not (PROGRAMS / "llama-server").exists():
            pytest.skip("needs tests/support/llama_cpp/fetch.sh .venv/llama.cpp")
        patch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{WITHOUT}")
        return
    patch.setenv("PATH", WITHOUT)
    if program == "wheel":
        pytest.importorskip("xllamacpp")


@contextlib.asynccontextmanager
async def serving(
    path: Path, *, slots: int = 4, options: LoadOptions | None = None, room: int = ROOM
) -> AsyncIterator[Engine]:
    """Load the model at `path` within `room` bytes of RAM, and unload it at the end."""
    options = options or LoadOptions(backend("cpu"), slots=slots)
    budget = MemoryBudget(vram_bytes=0, ram_bytes=room)
    engine = await load(path, options, budget, lambda done: None)
    try:
        yield engine
    finally:
        await engine.close()


async def answer(engine: Engine, task: pb.Task) -> list[pb.Result]:
    """Return all parts of the answer."""
    return [part async for part in engine.run(task)]


def whole(parts: list[pb.Result]) -> str:
    """Return the text of an answer."""
    return "".join(part.text for part in parts)


def resumed(task: pb.Task, parts: list[pb.Result]) -> pb.Task:
    """Return `task` as another worker gets it once `parts` were delivered."""
    again = pb.Task()
    again.CopyFrom(task)
    again.resume.tokens.extend(token for part in parts for token in part.tokens)
    again.resume.text = whole(parts)
    again.resume.index = len(parts)
    return again
