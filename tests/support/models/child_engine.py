"""An engine whose model runs in a child process: it counts, a number a line.

The interface of engines must have room for it. Its models are folders whose
config.json says so.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineDied, EngineEntry, LoadOptions, Probed
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model

CAPABILITIES = frozenset({pb.COMPLETE})
BYTES = 1000

COUNT = """
import sys
for line in sys.stdin:
    start, end = map(int, line.split())
    for number in range(start, end):
        print(number, flush=True)
        if number == 2 and end == 5:
            sys.stdin.read()  # until it is killed
"""
"""The program: asked for the numbers up to 5, it stops at 2."""


def probe(path: Path, name: str) -> Probed | None:
    counts = "counts" in (path / "config.json").read_text()
    return Probed(pb.TEXT, CAPABILITIES) if counts else None


def footprint(model: Model, options: LoadOptions) -> int:
    return BYTES


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> "ChildEngine":
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COUNT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    progress(1.0)
    return ChildEngine(child)


class ChildEngine:
    """Answers a text task with the numbers below its `max_tokens`."""

    library = "child"
    choice = "for tests"
    model_kind = pb.TEXT
    capabilities = CAPABILITIES
    quantization = "Q4_K_M"
    precision = ""
    placement = "ram"
    fallback = ""
    stalled_for = 0.0

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self._one = asyncio.Lock()

    @property
    def footprint(self) -> int:
        return BYTES if self.alive else 0

    @property
    def alive(self) -> bool:
        return self.child.returncode is None

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        start, end = len(task.resume.tokens), task.text.max_tokens
        async with self._one:
            try:
                self.child.stdin.write(f"{start} {end}\n".encode())
                await self.child.stdin.drain()
            except ConnectionError:
                raise EngineDied("its pipe is closed") from None
            for number in range(start, end):
                if not await self.child.stdout.readline():
                    await self.child.wait()
                    raise EngineDied(f"it ended with status {self.child.returncode}")
                yield pb.Result(text=f"{number} ", tokens=[number], final=number == end - 1)

    async def close(self) -> None:
        if self.alive:
            self.child.kill()
        await self.child.wait()


ENTRY = EngineEntry("child", probe, __name__)
