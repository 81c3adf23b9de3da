"""The protocol of one socket, sans-IO: start reading here.

An `Endpoint` is given datagrams and the time and gives datagrams and events.
The caller's part is a loop: pass what the socket received to
`datagram_received`, act on `take_events`, send what `datagrams_to_send`
yields, and call `datagrams_to_send` again no later than `next_timeout`.
`now` is a monotonic clock in seconds throughout.

Every reliable message has a sequence number of its sender towards this peer.
A message too large for one datagram takes one number for each of its CHUNKs
and is known by the first. What arrives is acknowledged by number, with ACK or
SACK; what is not acknowledged is sent again unchanged under its number.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from daiic.wire.address import is_loopback
from daiic.wire.counters import Counters
from daiic.wire.events import Delivered, Event, Message, Pong, Unreachable
from daiic.wire.frames import Frame, Range, decode_sack, pack, split_batch
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import (
    CARRIED,
    CONTROL,
    HEADER,
    HEADER_SIZE,
    RELIABLE,
    Address,
    MessageType,
    encode,
)
from daiic.wire.peer import Peer
from daiic.wire.peers import Peers
from daiic.wire.sealing import OVERHEAD, Sealer
from daiic.wire.timeouts import Timeouts

_RELIABLE = frozenset(map(int, RELIABLE))

PROBE_INTERVAL = 10.0
"""Seconds between two tries of whether larger datagrams reach a peer."""


class MessageTooLarge(ValueError):
    """A message exceeds `Limits.max_message`."""


class Endpoint:
    """All peers of one socket."""

    def __init__(
        self,
        limits: Limits,
        wall_clock: Callable[[], int],
        key: ClusterKey | None = None,
        *,
        wary: bool = False,
    ) -> None:
        """`wall_clock` gives microseconds since the Epoch, for headers and freshness.

        A `wary` one without a key sends little to an address that has not
        shown that it receives (see `credit`), unless we `trust` it.
        """
        self.counters = Counters()
        self._limits = limits
        self._memory = MemoryUse()
        self._wall_clock = wall_clock
        self._sealer = Sealer(key, limits, self.counters) if key else None
        self._overhead = OVERHEAD if key else 0
        self._wary = wary and key is None
        overhead, memory = self._overhead, self._memory
        self._peers = Peers(limits, overhead, memory, self.counters, self._wary)
        self._touched: dict[Address, Peer] = {}
        self._timeouts = Timeouts()
        self._sweep_at = 0.0
        self._events: list[Event] = []
        self._immediate: list[tuple[bytes, Address]] = []

    # ------------------------------------------------------------- receiving

    def datagram_received(self, datagram: Frame, peer: Address, now: float) -> None:
        """Take in one datagram; whatever is wrong with it is counted, never raised."""
        counters = self.counters
        counters.datagrams_received += 1
        counters.bytes_received += len(datagram)
        if len(datagram) < HEADER_SIZE:
            counters.dropped_malformed += 1
            return
        message_type, sequence, timestamp, length = HEADER.unpack_from(datagram)
        if len(datagram) != HEADER_SIZE + length:
            counters.dropped_malformed += 1
            return
        payload: Frame | None
        if self._sealer is not None:
            payload = self._sealer.open(datagram, timestamp, self._wall_clock())
            if payload is None:
                return
        else:
            payload = datagram[HEADER_SIZE:]
        if message_type != MessageType.BATCH:
            self._message_received(message_type, sequence, timestamp, payload, peer, now)
            if self._wary:
                self._earn(peer, len(datagram))
            return
        messages = split_batch(payload)
        if messages is None:
            counters.dropped_malformed += 1
            return
        counters.frames_received[message_type] += 1
        for message in messages:
            self._message_received(*message, peer, now)
        known = self._peers.get(peer)
        if known is not None:
            known.extended = True
            self._earn(peer, len(datagram))

    def _earn(self, address: Address, size: int) -> None:
        peer = self._peers.get(address)
        if peer is not None and peer.credit is not None:
            peer.credit.received(size)

    def _message_received(
        self,
        message_type: int,
        sequence: int,
        timestamp: int,
        payload: Frame,
        address: Address,
        now: float,
    ) -> None:
        self.counters.frames_received[message_type] += 1
        peer = self._peers.get(address)
        if peer is None:
            peer = self._stranger(message_type, sequence, timestamp, address, now)
            if peer is None:
                return
        peer.seen_at = now
        self._touched[address] = peer
        if message_type in _RELIABLE:
            if peer.inbox.is_new(sequence, now):
                self._events.append(
                    Message(address, message_type, sequence, timestamp, bytes(payload))
                )
        elif message_type == MessageType.SACK:
            ranges = decode_sack(payload)
            if ranges is None:
                self.counters.dropped_malformed += 1
                return
            peer.extended = True
            self._acknowledged(peer, ranges, now)
        elif message_type == MessageType.ACK:
            sent_at = peer.heartbeats.pop(sequence, None)
            if sent_at is None:
                self._acknowledged(peer, [(sequence, sequence)], now)
                return
            peer.outbox.recovery.heard(now)
            self._peers.prove(peer)
            self._events.append(Delivered(address, sequence, now - sent_at))
        elif message_type == MessageType.CHUNK:
            peer.extended = True
            whole = peer.inbox.chunk(sequence, payload, now)
            if whole is not None:
                self._events.append(Message(address, whole[0], whole[1], timestamp, whole[2]))
        elif message_type == MessageType.HEARTBEAT:
            self.counters.frames_sent[MessageType.ACK] += 1
            peer.once.append(encode(MessageType.ACK, sequence, timestamp))
            self._events.append(Message(address, message_type, sequence, timestamp, bytes(payload)))
        elif message_type == MessageType.BUSY:
            peer.extended = True
            peer.outbox.busy(sequence, now)
        elif message_type == MessageType.PING:
            self._answer_ping(sequence, timestamp, address)
        elif message_type == MessageType.PONG:
            sent_at = peer.pings.pop(sequence, None)
            if sent_at is not None:
                self._peers.prove(peer)
                self._events.append(Pong(address, now - sent_at))
                if sequence == peer.probe:
                    peer.outbox.room = self._limits.loopback_mtu - self._overhead
                    peer.probe_at = inf
        else:
            self.counters.dropped_unknown_type += 1

    def _stranger(
        self, message_type: int, sequence: int, timestamp: int, address: Address, now: float
    ) -> Peer | None:
        """Return a new peer if this is how one begins; answer or drop the message otherwise."""
        if message_type in CARRIED or message_type == MessageType.CHUNK:
            if self._make_room():
                return self._peers.add(address, now, opened=False)
            self.counters.dropped_peer_limit += 1
        elif message_type == MessageType.PING:
            self._answer_ping(sequence, timestamp, address)
        elif message_type not in _ANSWERS:
            self.counters.dropped_unknown_type += 1
        return None

    def _answer_ping(self, sequence: int, timestamp: int, address: Address) -> None:
        self.counters.frames_sent[MessageType.PONG] += 1
        self._immediate.append((encode(MessageType.PONG, sequence, timestamp), address))

    def _acknowledged(self, peer: Peer, ranges: list[Range], now: float) -> None:
        if peer.outbox.acknowledged(ranges, now, self._events) and (
            peer.credit is None or peer.outbox.covers(ranges)
        ):
            self._peers.prove(peer)

    def take_events(self) -> list[Event]:
        """Return what has happened since the last call."""
        events, self._events = self._events, []
        return events

    # --------------------------------------------------------------- sending

    def send(
        self, to: Address, message_type: MessageType, payload: bytes, now: float
    ) -> int | None:
        """Queue a message and return its sequence number; `None` if there is no memory for it.

        `Delivered` tells when it has arrived. A HEARTBEAT that fits one
        datagram goes out once and may get lost; everything else is repeated
        until it is acknowledged, or listed in an `Unreachable`. There is no
        memory when messages not yet acknowledged take up that of `Limits`,
        those to this peer or all together; `freed_bytes` grows when it may be
        worth another try.

        Raises:
            MessageTooLarge: if `payload` exceeds `Limits.max_message`, or
                `Limits.max_control` for that type.
        """
        limits, length = self._limits, len(payload)
        if length > limits.max_message:
            raise MessageTooLarge(
                f"a message of {length} bytes exceeds max_message, {limits.max_message} bytes"
            )
        if length > limits.max_control and message_type in CONTROL:
            raise MessageTooLarge(
                f"a {message_type.name} of {length} bytes exceeds max_control, "
                f"{limits.max_control} bytes"
            )
        peer = self._peers.get(to) or self._open(to, now)
        outbox = peer.outbox
        self._touched[to] = peer
        if message_type == MessageType.HEARTBEAT and outbox.fits(payload):
            sequence = outbox.reserve()
            peer.expect(peer.heartbeats, sequence, now)
            self.counters.frames_sent[message_type] += 1
            peer.once.append(encode(message_type, sequence, self._wall_clock(), payload))
            return sequence
        if (
            outbox.buffered + length > limits.peer_memory
            or self._memory.used + length > limits.memory
        ):
            self.counters.refused_over_memory += 1
            return None
        if now >= peer.probe_at and not outbox.fits(payload) and peer.credit is None:
            self._probe(peer, now)
        return outbox.queue(message_type, payload)

    def ping(self, to: Address, now: float) -> None:
        """Send a PING; `Pong` reports the answer."""
        self._ping(self._peers.get(to) or self._open(to, now), b"", now)

    def _ping(self, peer: Peer, payload: bytes, now: float) -> int:
        sequence = peer.outbox.reserve()
        peer.expect(peer.pings, sequence, now)
        self.counters.frames_sent[MessageType.PING] += 1
        ping = encode(MessageType.PING, sequence, self._wall_clock(), payload)
        self._immediate.append((ping, peer.address))
        return sequence

    def _probe(self, peer: Peer, now: float) -> None:
        """See whether a PING of `loopback_mtu` bytes is answered, if `peer` is on this machine.

        What is at a loopback address may be a forwarder to another machine, or
        have a small buffer.
        """
        if not is_loopback(peer.address):
            peer.probe_at = inf
            return
        peer.probe_at = now + PROBE_INTERVAL
        padding = bytes(self._limits.loopback_mtu - self._overhead - HEADER_SIZE)
        peer.probe = self._ping(peer, padding, now)

    def datagrams_to_send(self, now: float) -> Iterator[tuple[bytes, Address]]:
        """Yield what is to be sent now, datagrams to the same peer in a row."""
        self._expire(now)
        if self._immediate:
            immediate, self._immediate = self._immediate, []
            for datagram, address in immediate:
                if self._affords(address, len(datagram)):
                    yield self._finish(datagram), address
        if not self._touched:
            return
        touched, self._touched = self._touched, {}
        timestamp = self._wall_clock()
        peers = list(touched.items())
        if len(peers) > 1:  # what somebody waits for goes before mere acknowledgements
            peers.sort(key=_acknowledges_only)
        for address, peer in peers:
            frames: Sequence[bytes] = peer.frames_to_send(now, timestamp)
            # Whoever pays for each byte gets each message as it is.
            if peer.extended and len(frames) > 1 and peer.credit is None:
                frames = pack(frames, peer.outbox.room, timestamp)
                batches = sum(frame[0] == MessageType.BATCH for frame in frames)
                self.counters.frames_sent[MessageType.BATCH] += batches
            for datagram in frames:
                yield self._finish(datagram), address
            self._timeouts.schedule(peer, peer.next_timeout())

    def _affords(self, address: Address, size: int) -> bool:
        """Return whether an answer of `size` bytes may go to `address`."""
        peer = self._peers.get(address) if self._wary else None
        return peer is None or peer.credit is None or peer.credit.affords(size)

    def _finish(self, datagram: bytes) -> bytes:
        if self._sealer is not None:
            datagram = self._sealer.seal(datagram)
        self.counters.datagrams_sent += 1
        self.counters.bytes_sent += len(datagram)
        return datagram

    # ---------------------------------------------------------------- timing

    def next_timeout(self) -> float | None:
        """Return when `datagrams_to_send` has to be called next, or `None`."""
        if not self._peers:
            return None
        at = self._timeouts.next()
        return self._sweep_at if at is None else min(at, self._sweep_at)

    def _expire(self, now: float) -> None:
        for peer in self._timeouts.take_due(now):
            if peer.silent_too_long(now, self._limits.give_up):
                self._give_up(peer)
            self._touched[peer.address] = peer
        if now >= self._sweep_at:
            self._sweep_at = now + self._limits.reassembly_timeout / 4
            for peer in list(self._peers.values()):
                peer.inbox.expire(now)
                if peer.unused(now):
                    self.forget(peer.address)

    # ----------------------------------------------------------------- peers

    def rtt(self, to: Address) -> float | None:
        """Return the smoothed round trip to `to` in seconds, `None` if not known."""
        peer = self._peers.get(to)
        return peer.outbox.recovery.rtt.smoothed if peer else None

    def idle(self) -> bool:
        """Return whether every message has been acknowledged or given up."""
        return all(peer.outbox.idle() for peer in self._peers.values())

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages being reassembled or not yet acknowledged."""
        return self._memory.used

    @property
    def freed_bytes(self) -> int:
        """Bytes that have left `buffered_bytes` since the start."""
        return self._memory.freed

    def trust(self, addresses: Iterable[Address]) -> None:
        """Send without reserve to `addresses`, which nobody but us has chosen."""
        self._peers.trust(addresses)

    def forget(self, address: Address) -> None:
        """Drop all that is known about a peer, and without an event what was to be sent to it."""
        peer = self._peers.remove(address)
        self._touched.pop(address, None)
        if peer is not None:
            peer.timeout = None
            peer.inbox.clear()
            peer.outbox.clear()

    def _give_up(self, peer: Peer) -> None:
        self.counters.unreachable += 1
        if peer.credit is not None:
            peer.credit.held_since = None
            peer.inbox.forget_recent()  # what it repeats is done again, not dropped as known
        self._events.append(Unreachable(peer.address, peer.outbox.clear()))

    def _make_room(self) -> bool:
        """Return whether there is room for one more peer, if need be instead of an unproven one."""
        if not self._peers.full:
            return True
        oldest = self._peers.oldest_unproven
        if oldest is None:
            return False
        if self._wary or not oldest.outbox.idle():
            self._give_up(oldest)
        self.forget(oldest.address)
        return True

    def _open(self, to: Address, now: float) -> Peer:
        self._make_room()  # a peer that the application chose is known in any case
        return self._peers.add(to, now, opened=True)


def _acknowledges_only(item: tuple[Address, Peer]) -> bool:
    return not item[1].outbox.has_new()


_ANSWERS = frozenset({MessageType.ACK, MessageType.SACK, MessageType.PONG, MessageType.BUSY})
