"""Everything an endpoint knows about one peer."""

from daiic.wire.counters import Counters
from daiic.wire.credit import RESERVE, Credit
from daiic.wire.frames import encode_sack
from daiic.wire.inbox import Inbox
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import HEADER_SIZE, TRANSPORT, Address, MessageType, encode
from daiic.wire.outbox import Outbox
from daiic.wire.size_probe import SizeProbe

EXPECTED_ANSWERS = 16
"""Answers to HEARTBEATs, and to PINGs, that are waited for; more are not recognised."""


class Peer:
    """Both directions of the conversation with one address.

    `opened`: we wrote first. `extended`: it has sent one of `TRANSPORT`; until
    then it gets one message a datagram and an ACK for each of its own.
    `proven`: it has acknowledged something, so its address is not made up.
    `credit`: what it may get until then, `None` if that is not bounded.
    `once`: messages that go out with the next datagrams and are not repeated.
    `heartbeats` and `pings` not answered yet: when each was sent, by number.
    `timeout`: when the endpoint looks at it again, for its `Outbox`.
    """

    __slots__ = (
        "_counters",
        "_introduced",
        "_peer_idle",
        "address",
        "credit",
        "extended",
        "heartbeats",
        "inbox",
        "once",
        "opened",
        "outbox",
        "pings",
        "proven",
        "seen_at",
        "size_probe",
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
        credit: Credit | None,
    ) -> None:
        self._peer_idle = limits.peer_idle
        self._introduced = False
        self._counters = counters
        self.address = address
        self.opened = opened
        self.extended = False
        self.proven = False
        self.credit = credit
        self.inbox = Inbox(limits, memory, counters)
        self.outbox = Outbox(address, limits, overhead, memory, counters)
        self.once: list[bytes] = []
        self.heartbeats: dict[int, float] = {}
        self.pings: dict[int, float] = {}
        self.size_probe = SizeProbe(address, limits.loopback_mtu - overhead, now)
        self.seen_at = now
        self.timeout: float | None = None

    def expect_pong(self, now: float) -> int:
        """Return the number for a PING that is sent at `now`."""
        self._counters.frames_sent[MessageType.PING] += 1
        return self._expect(self.pings, now)

    def expect_ack(self, now: float) -> int:
        """Return the number for a HEARTBEAT that is sent at `now` and not repeated."""
        self._counters.frames_sent[MessageType.HEARTBEAT] += 1
        return self._expect(self.heartbeats, now)

    def _expect(self, answers: dict[int, float], now: float) -> int:
        sequence = self.outbox.reserve()
        self.seen_at = now
        answers[sequence] = now
        if len(answers) > EXPECTED_ANSWERS:
            del answers[next(iter(answers))]
        return sequence

    def frames_to_send(self, now: float, timestamp: int) -> list[bytes]:
        """Return the messages to send now: acknowledgements, then what is queued.

        If they do not show that we know the extensions, an empty SACK does, once.
        """
        frames = self.inbox.acknowledgements(timestamp, self.extended)
        if self.once:
            frames += self.once
            self.once = []
        credit = self.credit
        if credit is None:
            frames += self.outbox.frames_to_send(now, timestamp)
        else:
            frames = self._affordable(credit, frames, now, timestamp)
        if frames and not self._introduced and (self.opened or self.extended):
            known = any(frame[0] in TRANSPORT for frame in frames)
            if known or credit is None or credit.affords(HEADER_SIZE):
                self._introduced = True
            if self._introduced and not known:
                frames.append(encode_sack((), timestamp))
        return frames

    def _affordable(
        self, credit: Credit, frames: list[bytes], now: float, timestamp: int
    ) -> list[bytes]:
        """Return what `credit` lets go; of `frames`, the rest is not sent: it will be asked again.

        A PING asks for the proof that lets the rest of the queue go.
        """
        sent = [frame for frame in frames if credit.affords(len(frame))]
        queued = self.outbox.frames_to_send(now, timestamp, credit.left - RESERVE)
        credit.left -= sum(map(len, queued))
        sent += queued
        if credit.held(len(sent) < len(frames) + len(queued) or self.outbox.held, now):
            sent.append(encode(MessageType.PING, self.expect_pong(now), timestamp))
        return sent

    def next_timeout(self) -> float | None:
        """Return when to call `frames_to_send` again, or `None`."""
        timeout = self.outbox.next_timeout()
        asking = self.credit.next_timeout() if self.credit else None
        if timeout is None or asking is None:
            return asking if timeout is None else timeout
        return min(timeout, asking)

    def silent_too_long(self, now: float, give_up: float) -> bool:
        """Return whether it has acknowledged nothing, or shown nothing, for `give_up` seconds."""
        held_since = self.credit.held_since if self.credit is not None else None
        if held_since is not None and now >= held_since + give_up:
            return True
        return self.outbox.silent_too_long(now)

    def unused(self, now: float) -> bool:
        """Return whether nothing has been heard or wanted of it for `Limits.peer_idle`."""
        return self.outbox.idle() and now >= self.seen_at + self._peer_idle
