"""The engine of models that read texts, and answer each task with one part."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.one_model_engine import OneModelEngine


class Reader(Protocol):
    """What answers the tasks."""

    async def answer(self, task: pb.Task, moved: Callable[[], None]) -> pb.Result:
        """Return the only part of the answer; `moved` is called after each batch."""

    def stop(self) -> None:
        """End its thread."""


class EncoderEngine(OneModelEngine[Reader]):
    """An `Engine` of one model. Its tasks take turns, batch by batch."""

    async def _parts(self, runner: Reader, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        yield await runner.answer(task, self._moved)

    def _stop(self) -> None:
        if self._runner is not None:
            self._runner.stop()
