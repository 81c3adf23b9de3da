"""Everything an endpoint knows about one peer."""

from daiic.wire.counters import Counters
from daiic.wire.frames import encode_sack
from daiic.wire.inbox import Inbox
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import TRANSPORT, Address
from daiic.wire.outbox import Outbox

EXPECTED_ANSWERS = 16


class Peer:
    """Both directions of the conversation with one address.

    `opened`: we wrote first. `extended`: it has sent one of `TRANSPORT`; until
    then it gets one message a datagram and an ACK for each of its own.
    `proven`: it has acknowledged something, so its address is not made up.
    `once`: messages that go out with the next datagrams and are not repeated.
    `probe`: the sequence of the latest PING that was as large as the datagrams
    it may be ready for; no other is sent before `probe_at`.
    `timeout`: when the endpoint looks at it again, for its `Outbox`.
    """

    __slots__ = (
        "_introduced",
        "_peer_idle",
        "address",
        "extended",
        "heartbeats",
        "inbox",
        "once",
        "opened",
        "outbox",
        "pings",
        "probe",
        "probe_at",
        "proven",
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
        opened: bool,
    ) -> None:
        self._peer_idle = limits.peer_idle
        self._introduced = False
        self.address = address
        self.opened = opened
        self.extended = False
        self.proven = False
        self.inbox = Inbox(limits, memory, counters)
        self.outbox = Outbox(limits, overhead, memory, counters)
        self.once: list[bytes] = []
        self.heartbeats: dict[int, float] = {}
        self.pings: dict[int, float] = {}
        self.probe: int | None = None
        self.probe_at = now
        self.seen_at = now
        self.timeout: float | None = None

    def expect(self, answers: dict[int, float], sequence: int, now: float) -> None:
        """Note in `answers` that `sequence` was sent at `now`; the oldest of many is dropped."""
        self.seen_at = now
        answers[sequence] = now
        if len(answers) > EXPECTED_ANSWERS:
            del answers[next(iter(answers))]

    def frames_to_send(self, now: float, timestamp: int) -> list[bytes]:
        """Return the messages to send now: acknowledgements, then what is queued.

        If they do not show that we know the extensions, an empty SACK does, once.
        """
        frames = self.inbox.acknowledgements(timestamp, self.extended)
        if self.once:
            frames += self.once
            self.once = []
        frames += self.outbox.frames_to_send(now, timestamp)
        if frames and not self._introduced and (self.opened or self.extended):
            self._introduced = True
            if not any(frame[0] in TRANSPORT for frame in frames):
                frames.append(encode_sack((), timestamp))
        return frames

    def unused(self, now: float) -> bool:
        """Return whether nothing has been heard or wanted of it for `Limits.peer_idle`."""
        return self.outbox.idle() and now >= self.seen_at + self._peer_idle
