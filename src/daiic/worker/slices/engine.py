"""A model that is computed in slices, by this worker and members: tasks in, answers out."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from google.protobuf.message import DecodeError

from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineDied
from daiic.worker.sharding.group import Group
from daiic.worker.slices import frames
from daiic.worker.slices.frames import CANCEL, ERROR, RESULT, TASK, TOLD
from daiic.worker.slices.members import BLAME, Members
from daiic.worker.slices.messages import Told
from daiic.worker.slices.rank import Rank
from daiic.worker.standstill import Standstill

STALLED = MODEL_KINDS[pb.TEXT].stall_limit / 2
"""Seconds without a step, before the worker itself would be taken for hung."""
LOOK = 0.5

Said = pb.Result | TaskError | None
"""A part of an answer, why there is none, or that the rank is gone."""


class SlicedEngine:
    """An `Engine` whose first rank is a child of this worker."""

    library = "transformers"
    model_kind = pb.TEXT
    quantization = "none"
    fallback = ""

    def __init__(
        self,
        rank: Rank,
        members: Members,
        group: Group,
        ready: Told,
        *,
        placement: str,
        shards: Sequence[pb.Shard],
    ) -> None:
        """`ready` is what `rank` told when it was; `shards` says who holds what."""
        known = frozenset(ready.capabilities) & frozenset(pb.Capability.values())
        self.capabilities: frozenset[pb.Capability] = cast(frozenset[pb.Capability], known)
        self.precision = ready.precision
        self.placement = placement
        self.choice = ready.choice
        self.shards = shards
        self._rank = rank
        self._members = members
        self._group = group
        self._answers: dict[int, asyncio.Queue[Said]] = {}
        self._numbers = itertools.count(1)
        self._standstill = Standstill()
        self._alive = True
        self._reason = ""
        self._listening = asyncio.create_task(self._listen())
        self._watching = asyncio.create_task(self._watch())

    @property
    def footprint(self) -> int:
        """Bytes that the first rank holds."""
        return self._rank.bytes

    @property
    def alive(self) -> bool:
        """Whether all ranks run, as far as is known."""
        return self._alive

    @property
    def stalled_for(self) -> float:
        """Seconds since the first rank last computed, or sent a part, while there is work."""
        if not self._answers:
            return 0.0
        return self._standstill.look(self._rank.child.processor_seconds)

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a text task."""
        if not task.HasField("text"):
            raise TaskError(
                pb.UNSUPPORTED,
                f"{task.model} is computed in slices, and answers text tasks only",
                "choose a smaller model for other tasks",
            )
        if not self._alive:
            raise EngineDied(self._reason)
        number = next(self._numbers)
        if not self._answers:
            self._standstill.step()
        answer = self._answers[number] = asyncio.Queue()
        own = pb.Task(id=number, model=task.model, text=task.text)
        if task.HasField("resume"):
            own.resume.CopyFrom(task.resume)
        self._rank.say(TASK, own.SerializeToString())
        over = False
        try:
            while not over:
                said = await answer.get()
                over = not isinstance(said, pb.Result) or said.final
                if said is None:
                    raise EngineDied(self._reason)
                if isinstance(said, TaskError):
                    raise said
                self._standstill.step()
                said.ClearField("id")
                yield said
        finally:
            self._answers.pop(number, None)
            if not over:
                self._rank.say(CANCEL, number.to_bytes(8))

    async def close(self) -> None:
        """End all ranks."""
        self._listening.cancel()
        self._watching.cancel()
        self._end("the model is being unloaded")
        await self._members.close()
        await self._rank.close()
        await self._group.close()

    async def _listen(self) -> None:
        why = ""
        async for kind, content in self._rank.said():
            try:
                if kind == RESULT:
                    part = pb.Result.FromString(content)
                    self._hand(part.id, part)
                elif kind == ERROR:
                    error = pb.Error.FromString(content)
                    self._hand(error.id, TaskError(error.code, error.message, error.remedy))
                elif kind == TOLD:
                    why = frames.decoded(content, Told).message
            except (DecodeError, frames.FrameError) as error:
                why = str(error)
                break
        # The first that is lost breaks all others, who then do not know who it was.
        await asyncio.wait({self._members.lost}, timeout=BLAME)
        self._end(f"the first rank has failed: {why}" if why else self._rank.ending())

    async def _watch(self) -> None:
        """End the first rank when another is lost, for which it might wait for ever."""
        while not (self._members.lost.done() or self._group.broken or self.stalled_for >= STALLED):
            await asyncio.wait({self._members.lost}, timeout=LOOK)
        self._rank.child.send(9)
        if self._group.broken:
            self._end(self._group.broken)

    def _end(self, reason: str) -> None:
        lost = self._members.lost
        self._alive = False
        self._reason = self._reason or (lost.result() if lost.done() else reason)
        for answer in self._answers.values():
            answer.put_nowait(None)

    def _hand(self, number: int, said: Said) -> None:
        answer = self._answers.get(number)
        if answer is not None:
            answer.put_nowait(said)


async def started(rank: Rank) -> AsyncGenerator[Told, None]:
    """Yield what a rank tells until it is ready.

    Raises:
        TaskError: if it fails.
        EngineDied: if it is gone.
    """
    async with contextlib.aclosing(rank.said()) as all_said:
        async for kind, content in all_said:
            if kind != TOLD:
                continue
            told = frames.decoded(content, Told)
            if told.state == "failed" and not told.victim:
                raise TaskError(_error_code(told.code), told.message, told.remedy)
            yield told
            if told.state == "ready":
                return
    await rank.child.ended()
    raise EngineDied(rank.ending())


def _error_code(number: int) -> pb.ErrorCode:
    known = number in pb.ErrorCode.values()
    return cast(pb.ErrorCode, number) if known else pb.INTERNAL
