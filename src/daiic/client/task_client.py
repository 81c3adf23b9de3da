"""What can be asked of a cluster, given a way to have a task answered."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence

from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb


class TaskClient(ABC):
    """Sends tasks to the cluster and yields their answers."""

    @abstractmethod
    def bursts(self, task: pb.Task) -> AsyncGenerator[list[pb.Result], None]:
        """Yield what `run` does, as lists of all that has arrived since the last one.

        A caller that falls behind catches up at less cost than part by part.
        """

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Yield the parts of the answer to `task` in order, the last one `final`.

        A part with `started_over` voids all parts before it: another model
        has begun the answer again, so discard what came before. Closing the
        generator cancels the task. `task` belongs to the client from now on,
        which sets its `id`, and its seed if it has none.

        Raises:
            TaskError: if the task ends without an answer.
        """
        async with contextlib.aclosing(self.bursts(task)) as bursts:
            async for burst in bursts:
                for part in burst:
                    yield part

    async def answer(self, task: pb.Task) -> pb.Result:
        """Return the whole answer to `task` as one final part.

        What came before the answer started over is dropped.

        Raises:
            TaskError: if the task ends without an answer.
        """
        parts: list[pb.Result] = []
        async with contextlib.aclosing(self.bursts(task)) as bursts:
            async for burst in bursts:
                parts += burst
        return joined(parts)

    async def status(self, asked: pb.StatusTask | None = None) -> pb.ClusterStatus:
        """Return the head's view of the cluster, with what `asked` wants to know beyond it.

        Raises:
            TaskError: if no head answers.
        """
        return (await self.answer(pb.Task(status=asked or pb.StatusTask()))).status

    async def models(self, tags: Sequence[str] = ()) -> list[pb.ModelStatus]:
        """Return the models that workers with all of `tags` report, those that are loaded first.

        Raises:
            TaskError: if no head answers.
        """
        beats = [worker.heartbeat for worker in (await self.status()).workers]
        models = [model for beat in beats if {*tags} <= {*beat.tags} for model in beat.models]
        return sorted(models, key=lambda model: model.state != pb.LOADED)
