"""Everything an endpoint knows about one peer."""

from collections.abc import Iterator

from daiic.wire.counters import Counters
from daiic.wire.inbox import Inbox
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import Address
from daiic.wire.outbox import Outbox

EXPECTED_ANSWERS = 16


class Peer:
    """Both directions of the conversation with one address.

    `timeout` is when the endpoint looks at it again, for its `Outbox`.
    """

    __slots__ = (
        "_limits",
        "address",
        "heartbeats",
        "inbox",
        "outbox",
        "pings",
        "seen_at",
        "timeout",
    )

    def __init__(
        self,
        address: Address,
        limits: Limits,
        overhead: int,
        memory: MemoryUse,
        counters: Counters,
        now: float,
    ) -> None:
        self._limits = limits
        self.address = address
        self.inbox = Inbox(limits, memory, counters)
        self.outbox = Outbox(limits, overhead, memory, counters)
        self.heartbeats: dict[int, float] = {}
        self.pings: dict[int, float] = {}
        self.seen_at = now
        self.timeout: float | None = None

    def expect(self, answers: dict[int, float], sequence: int, now: float) -> None:
        """Note in `answers` that `sequence` was sent at `now`; the oldest of many is dropped."""
        self.seen_at = now
        answers[sequence] = now
        if len(answers) > EXPECTED_ANSWERS:
            del answers[next(iter(answers))]

    def frames_to_send(self, now: float, timestamp: int) -> Iterator[bytes]:
        """Yield the messages to send now: acknowledgements, then what is queued."""
        yield from self.inbox.acknowledgements(timestamp)
        yield from self.outbox.frames_to_send(now, timestamp)

    def unused(self, now: float) -> bool:
        """Return whether nothing has been heard or wanted of it for `Limits.peer_idle`."""
        return self.outbox.idle() and now >= self.seen_at + self._limits.peer_idle
