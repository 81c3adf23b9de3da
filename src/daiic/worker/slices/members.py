"""The workers that compute the other slices of a model which this one leads."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import split_host_port
from daiic.worker.sharding.group import Group
from daiic.worker.sharding.plan import Member
from daiic.worker.slices import frames
from daiic.worker.slices.frames import ASK, NONCE, TOLD, packed
from daiic.worker.slices.messages import PROOF, Ask, Told, proof

CALL = 30.0
"""Seconds in which a member must have answered a call."""

BLAME = 2.0
"""Seconds in which a member that is lost is named before those whose ranks it has broken."""


class Members:
    """One connection to each; closing them ends their ranks."""

    def __init__(self, group: Group, secret: bytes) -> None:
        self.bytes: list[int] = [0] * len(group.plan)
        """Of weights, that each holds."""
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why the first of them that is gone is, once one is."""
        self._group = group
        self._secret = secret
        self._ready: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    def ask(self, ask_of: Callable[[int], Ask]) -> None:
        """Ask each for its slice; `ask_of` has what is asked of that number."""
        for number, member in enumerate(self._group.plan):
            self._ready.append(asyncio.get_running_loop().create_future())
            self._tasks.append(asyncio.create_task(self._lead(number, member, ask_of(number))))

    async def ready(self) -> None:
        """Wait until all have loaded their slices.

        Raises:
            TaskError: WORKER_LOST if one cannot.
        """
        all_ready = asyncio.gather(*self._ready)
        waiting: set[asyncio.Future[Any]] = {self.lost, all_ready}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            all_ready.cancel()
        if self.lost.done():
            what = "another group is formed without it"
            raise TaskError(pb.WORKER_LOST, self.lost.result(), what)

    async def close(self) -> None:
        """Leave them all."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _lead(self, number: int, member: Member, ask: Ask) -> None:
        reason = "it has left"
        try:
            host, port = split_host_port(self._group.endpoints[number])
            async with asyncio.timeout(CALL):
                reader, writer = await asyncio.open_connection(host, port)
                self._writers.append(writer)
                kind, nonce = await frames.read(reader, PROOF)
            if kind != NONCE or len(nonce) != PROOF:
                raise frames.FrameError("it says something else")
            content = msgspec.json.encode(ask)
            writer.write(packed(ASK, proof(self._secret, nonce, content) + content))
            while True:
                told = await frames.read_as(reader, TOLD, Told)
                if told.state == "ready" and not self._ready[number].done():
                    self.bytes[number] = told.bytes
                    self._ready[number].set_result(None)
                elif told.state == "failed":
                    reason = told.message
                    if told.victim:
                        await asyncio.sleep(BLAME)
                    break
        except (EOFError, OSError, TimeoutError, frames.FrameError) as error:
            reason = f"it is not reached: {error}" if str(error) else reason
        with contextlib.suppress(asyncio.InvalidStateError):
            self.lost.set_result(f"{member.worker_id} ({member.name}) {reason}")
