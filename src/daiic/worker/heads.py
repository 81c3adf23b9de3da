"""The heads that a worker reports to: finding them, heartbeats, and who answers.

A heartbeat goes to every head every two seconds, and sooner when something
changes that heads schedule by. Once it is delivered, the head knows the state
that it reports. The name of a head that does not answer is looked up again,
because it may have a new address; however long that takes, it delays nothing
else.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, resolve
from daiic.wire.events import Delivered
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import MeshSocket
from daiic.worker.limits import LIMITS

INTERVAL = 2.0
SHORTEST_INTERVAL = 0.2
"""Seconds between heartbeats at least, whatever changes."""
LOST_AFTER = 5
"""Heartbeats without an answer after which a head counts as lost."""
WARN_AFTER = 2
"""Heartbeats without any answer after which the log says so."""
UNDER_WAY = 16
"""Heartbeats to one head of which it is remembered what they said."""

log = structlog.get_logger()


@dataclass(slots=True)
class Head:
    """One head, and the state of this worker that it `knows`.

    `unanswered` heartbeats, counted every interval, have gone by since it
    acknowledged one: time alone would blame it for a pause of this process.
    `under_way` has the states in heartbeats not acknowledged yet, by sequence.
    """

    name: str
    address: Address | None = None
    look_up: "asyncio.Task[None] | None" = None
    answers: bool = False
    unanswered: int = 0
    warned: bool = False
    under_way: dict[int, pb.WorkerState] = field(default_factory=dict)
    knows: pb.WorkerState = pb.WORKER_STATE_UNSPECIFIED


class Heads:
    """Reports to every head what `heartbeat` returns."""

    def __init__(
        self,
        names: tuple[str, ...],
        socket: MeshSocket,
        heartbeat: Callable[[], pb.Heartbeat],
        on_lost: Callable[[Address], None],
        on_registered: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is told the address of a head that is silent for too long."""
        self._socket = socket
        self._clock = socket.clock
        self._heartbeat = heartbeat
        self._on_lost = on_lost
        self._on_registered = on_registered
        self._heads = [Head(name) for name in names]
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._ipv6 = ":" in socket.local_address[0]

    async def report(self) -> None:
        """Send heartbeats until cancelled."""
        watched_at = self._clock()
        while True:
            if self._clock() - watched_at >= INTERVAL:
                watched_at = self._clock()
                self._watch()
            for head in self._heads:
                if not head.answers and head.look_up is None:
                    head.look_up = self._loop.create_task(self._look_up(head))
            self.beat()
            self._due.clear()
            await asyncio.sleep(SHORTEST_INTERVAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL - SHORTEST_INTERVAL):
                    await self._due.wait()

    def hurry(self) -> None:
        """Send a heartbeat before the interval is over, `SHORTEST_INTERVAL` after the last."""
        self._due.set()

    def beat(self) -> None:
        """Send a heartbeat to every head now."""
        beat = self._heartbeat()
        payload = _fitting(beat)
        for head in self._heads:
            if head.address is not None:
                sequence = self._socket.send(head.address, MessageType.HEARTBEAT, payload)
                if sequence is not None:
                    head.under_way[sequence] = beat.state
                    if len(head.under_way) > UNDER_WAY:
                        del head.under_way[next(iter(head.under_way))]

    def delivered(self, event: Delivered) -> None:
        """Note what a head knows if the message that was delivered is a heartbeat."""
        for head in self._heads:
            if head.address != event.peer or event.sequence not in head.under_way:
                continue
            if not head.answers:
                rtt_ms = "unknown" if event.rtt is None else round(event.rtt * 1000, 2)
                log.info("registered", head=head.name, rtt_ms=rtt_ms)
            head.answers = True
            head.unanswered = 0
            head.warned = False
            head.knows = head.under_way[event.sequence]
            for sequence in list(head.under_way):  # what was sent before it says nothing new
                del head.under_way[sequence]
                if sequence == event.sequence:
                    break
            self._on_registered()

    def knows(self, state: pb.WorkerState) -> bool:
        """Return whether a head that answers knows that this worker is in `state`."""
        return any(head.answers and head.knows == state for head in self._heads)

    @property
    def answering(self) -> list[str]:
        """The addresses of the heads that answer, "address:port"."""
        return [format_address(h.address) for h in self._heads if h.answers and h.address]

    @property
    def silent(self) -> list[str]:
        """The heads that do not answer."""
        return [head.name for head in self._heads if not head.answers]

    def lost(self, address: Address) -> None:
        """Note that the head at `address` acknowledges nothing any more."""
        for head in self._heads:
            if head.address == address:
                self._lose(head)

    def _watch(self) -> None:
        """Look for silent heads, once every interval, before a heartbeat is sent."""
        for head in self._heads:
            head.unanswered += 1
            if not head.answers:
                if not head.warned and head.unanswered > WARN_AFTER:
                    head.warned = True
                    log.warning(
                        "the head does not answer; still trying. Is it running, is its UDP port "
                        "open, does it have the same cluster key, and do the clocks agree?"
                        if head.address
                        else "the name server does not answer about the head; still trying",
                        head=head.name,
                    )
            elif head.unanswered > LOST_AFTER:
                self._lose(head)
                if head.address is not None:
                    self._on_lost(head.address)

    def _lose(self, head: Head) -> None:
        if head.answers:
            log.warning("head no longer answers; still trying", head=head.name)
            head.answers = False
            head.warned = True
        head.knows = pb.WORKER_STATE_UNSPECIFIED

    async def _look_up(self, head: Head) -> None:
        try:
            address = await resolve(head.name)
        except (OSError, UnicodeError) as error:  # the latter for names that no DNS can have
            if not head.warned:
                head.warned = True
                log.warning("head not found; still trying", head=head.name, reason=str(error))
            return
        finally:
            head.look_up = None
        if (":" in address[0]) != self._ipv6:
            if not head.warned:
                head.warned = True
                log.error(
                    "the head cannot be reached from this worker's address; set listen to "
                    + ("[::]:7727" if not self._ipv6 else "0.0.0.0:7727"),
                    head=head.name,
                    listen=format_address(self._socket.local_address),
                )
            return
        if address != head.address:
            head.address = address
            head.under_way.clear()
            self._socket.trust(h.address for h in self._heads if h.address)
            self.beat()


def _fitting(beat: pb.Heartbeat) -> bytes:
    """Return `beat` as it is sent, without the models that a head would not keep.

    Loaded models, and those on their way, go before those that lie on the disk.
    """
    payload = beat.SerializeToString()
    if len(beat.models) <= LIMITS.models and len(payload) <= LIMITS.heartbeat:
        return payload
    least = pb.Heartbeat()
    least.CopyFrom(beat)
    models = sorted(least.models, key=lambda model: model.state in (pb.AVAILABLE, pb.FAILED))
    del models[LIMITS.models :]
    for model in models:
        model.detail = model.detail[: LIMITS.detail]
    while True:
        del least.models[:]
        least.models.extend(models)
        payload = least.SerializeToString()
        if len(payload) <= LIMITS.heartbeat or not models:
            return payload
        del models[-max(len(models) // 8, 1) :]
