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

from collections.abc import Callable, Iterable, Iterator

from daiic.wire.counters import Counters
from daiic.wire.datagrams import Datagrams
from daiic.wire.events import Delivered, Event, Message, Pong
from daiic.wire.frames import Frame, Range, decode_sack
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import (
    CARRIED,
    CONTROL,
    PATH,
    RELIABLE,
    Address,
    MessageType,
    encode,
)
from daiic.wire.peer import Peer
from daiic.wire.peers import Peers

_RELIABLE = frozenset(map(int, RELIABLE))


MAX_PATH_MESSAGES = 1024
"""Messages about paths that wait to be taken; more than come in a turn."""


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
        validate_addresses: bool = False,
    ) -> None:
        """`wall_clock` gives microseconds since the Epoch, for headers and freshness.

        With `validate_addresses` and without a key, it sends little to an
        address that has not shown that it receives (see `credit`), unless we
        `trust` it.
        """
        self.counters = Counters()
        self._limits = limits
        self._memory = MemoryUse()
        self._wall_clock = wall_clock
        self._validate_addresses = validate_addresses and key is None
        self._events: list[Event] = []
        self._datagrams = Datagrams(limits, wall_clock, key, self.counters)
        self._peers = Peers(
            limits,
            self._datagrams.overhead,
            self._memory,
            self.counters,
            self._validate_addresses,
            self._events,
        )
        self._touched = self._peers.touched
        self._immediate: list[tuple[bytes, Address]] = []
        self._path_messages: list[tuple[bytes, Address]] | None = None

    # ------------------------------------------------------------- receiving

    def datagram_received(self, datagram: Frame, peer: Address, now: float) -> None:
        """Handle one datagram; whatever is wrong with it is counted, never raised."""
        opened = self._datagrams.open(datagram)
        if opened is None:
            return
        message_type, sequence, timestamp, payload = opened
        if message_type != MessageType.BATCH:
            self._message_received(message_type, sequence, timestamp, payload, peer, now)
            if self._validate_addresses:
                self._earn(peer, len(datagram))
            return
        messages = self._datagrams.split(payload)
        if messages is None:
            return
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
                if peer.size_probe.answered(sequence):
                    peer.outbox.capacity = peer.size_probe.capacity
        elif message_type == PATH and self._path_messages is not None:
            if len(self._path_messages) < MAX_PATH_MESSAGES:
                self._path_messages.append((bytes(payload), address))
        else:
            self.counters.dropped_unknown_type += 1

    def _stranger(
        self, message_type: int, sequence: int, timestamp: int, address: Address, now: float
    ) -> Peer | None:
        """Return a new peer if this is how one begins; answer or drop the message otherwise."""
        if message_type in CARRIED or message_type == MessageType.CHUNK:
            return self._peers.admit(address, now)
        if message_type == MessageType.PING:
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
        events = self._events.copy()
        self._events.clear()
        return events

    # ----------------------------------------------------------------- paths

    def take_path_messages(self) -> list[tuple[bytes, Address]]:
        """Return what peers have said about paths since the last call, and who they are.

        Before the first call nothing of it is kept.
        """
        taken, self._path_messages = self._path_messages, []
        return taken or []

    def send_path_message(self, to: Address, payload: bytes, now: float) -> None:
        """Say something about paths, once."""
        peer = self._peers.get(to) or self._peers.open(to, now)
        sequence = peer.outbox.reserve()
        peer.once.append(encode(PATH, sequence, self._wall_clock(), payload))
        self._touched[to] = peer

    def set_path(self, peer: Address, size: int | None, now: float) -> None:
        """Take note that `peer` is reached another way: with datagrams of `size` bytes.

        `None` stands for the ordinary network; what was under way is then sent again.
        """
        self._peers.set_path(peer, size, now)

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
        peer = self._peers.get(to) or self._peers.open(to, now)
        outbox = peer.outbox
        self._touched[to] = peer
        if message_type == MessageType.HEARTBEAT and outbox.fits(payload):
            sequence = peer.expect_ack(now)
            peer.once.append(encode(message_type, sequence, self._wall_clock(), payload))
            return sequence
        if (
            outbox.buffered + length > limits.peer_memory
            or self._memory.used + length > limits.memory
        ):
            self.counters.refused_over_memory += 1
            return None
        if not outbox.fits(payload) and peer.credit is None and peer.size_probe.due(now):
            peer.size_probe.sent(self._ping(peer, now, peer.size_probe.padding()), now)
        return outbox.queue(message_type, payload)

    def ping(self, to: Address, now: float) -> None:
        """Send a PING; `Pong` reports the answer."""
        self._ping(self._peers.get(to) or self._peers.open(to, now), now)

    def _ping(self, peer: Peer, now: float, payload: bytes = b"") -> int:
        sequence = peer.expect_pong(now)
        ping = encode(MessageType.PING, sequence, self._wall_clock(), payload)
        self._immediate.append((ping, peer.address))
        return sequence

    def datagrams_to_send(self, now: float) -> Iterator[tuple[bytes, Address]]:
        """Yield what is to be sent now, datagrams to the same peer in a row."""
        peers, close = self._peers, self._datagrams.close
        peers.expire(now)
        if self._immediate:
            immediate, self._immediate = self._immediate, []
            for datagram, address in immediate:
                if self._affords(address, len(datagram)):
                    yield close(datagram), address
        if not self._touched:
            return
        touched = list(self._touched.values())
        self._touched.clear()
        timestamp = self._wall_clock()
        if len(touched) > 1:  # what somebody waits for goes before mere acknowledgements
            touched.sort(key=_acknowledges_only)
        for peer in touched:
            messages = peer.frames_to_send(now, timestamp)
            # A peer with a credit pays for each byte: it gets each message as it is.
            if peer.extended and len(messages) > 1 and peer.credit is None:
                messages = self._datagrams.join(messages, peer.outbox.capacity, timestamp)
            for datagram in messages:
                yield close(datagram), peer.address
            peers.schedule(peer)

    def _affords(self, address: Address, size: int) -> bool:
        """Return whether an answer of `size` bytes may go to `address`."""
        peer = self._peers.get(address) if self._validate_addresses else None
        return peer is None or peer.credit is None or peer.credit.affords(size)

    def next_timeout(self) -> float | None:
        """Return when `datagrams_to_send` has to be called next, or `None`."""
        return self._peers.next_timeout()

    # ----------------------------------------------------------------- state

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
        self._peers.forget(address)


def _acknowledges_only(peer: Peer) -> bool:
    return not peer.outbox.has_new()


_ANSWERS = frozenset({MessageType.ACK, MessageType.SACK, MessageType.PONG, MessageType.BUSY})
