"""Plays a conformance trace (tests/vectors/traces.json) against `Endpoint`.

The format is described in that file.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from daiic.wire.counters import Counters
from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Delivered, Event, Message, Pong
from daiic.wire.frames import CHUNK_HEADER, SMALLEST_CHUNK, decode_sack, split_batch
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, HEADER_SIZE, TRANSPORT, Address, MessageType
from daiic.wire.sealing import COUNTER, SESSION_SIZE, Sealer
from daiic.wire.sequence import SEQUENCE_MASK, distance

PEERS: dict[str, Address] = {"a": ("192.0.2.1", 5000), "b": ("192.0.2.2", 5000)}
MTU = 1200
REFERENCE = re.compile(r"\{(\w+(?:\.\w+)?)([+-]\d+)?\}")
STUCK = 10_000


@dataclass
class Sent:
    """A message that the endpoint sent, with `chunks` if it took several."""

    type: int
    sequence: int
    timestamp: int
    payload: bytes
    chunks: list["Sent"] = field(default_factory=list)


class Player:
    """One trace on its way; `play` raises an AssertionError that names the step."""

    def __init__(self, file: dict[str, Any], trace: dict[str, Any]) -> None:
        self._types: dict[str, int] = file["types"]
        self._steps: list[dict[str, Any]] = trace["steps"]
        self._epoch = int(file["now"])
        self._began = self._now = 1000.0
        limits = replace(Limits(), **trace.get("limits", {}))
        key = ClusterKey(bytes.fromhex(file["key"])) if trace.get("key") else None
        unproven = trace.get("unproven", False)
        self._endpoint = Endpoint(limits, self._wall_clock, key, validate_addresses=unproven)
        self._opener = Sealer(key, limits, Counters()) if key else None
        self._sealed: tuple[bytes, int] | None = None
        self._datagrams: list[bytes] = []
        self._events: list[Event] = []
        self._numbers: dict[str, int] = {}
        self._acknowledged: dict[str, set[int]] = {name: set() for name in PEERS}
        self._bytes = dict.fromkeys(PEERS, 0)
        self._extended: set[str] = set()

    def _wall_clock(self) -> int:
        return self._epoch + round((self._now - self._began) * 1e6)

    def play(self) -> None:
        """Take every step and check what the endpoint does."""
        for number, step in enumerate(self._steps):
            try:
                self._step(step, step.get("peer", "a"))
            except AssertionError as error:
                raise AssertionError(f"step {number}: {error}") from error

    def _step(self, step: dict[str, Any], peer: str) -> None:
        before = self._endpoint.counters.as_dict()
        echo, self._datagrams, self._events = self._datagrams[:1], [], []
        self._act(step, peer, echo)
        self._let_pass(step.get("wait", 0.0))
        after = self._endpoint.counters.as_dict()
        dropped = {n: after[n] - before[n] for n in after if n.startswith("dropped_")}
        wanted = step.get("dropped", {})
        assert {n: count for n, count in dropped.items() if count} == wanted, f"dropped {dropped}"
        self._check_sent(step, peer)
        self._check_events(step.get("events", []), peer)
        if "at_most" in step:
            assert self._bytes[peer] <= step["at_most"], f"{self._bytes[peer]} bytes sent"

    # ------------------------------------------------------------ what happens

    def _act(self, step: dict[str, Any], peer: str, echo: list[bytes]) -> None:
        endpoint, to, now = self._endpoint, PEERS[peer], self._now
        arriving = [bytes.fromhex(self._resolve(text)) for text in step.get("receive", [])]
        if "echo" in step:
            arriving = echo
        for datagram in arriving:
            endpoint.datagram_received(datagram, to, now)
            if datagram and datagram[0] in TRANSPORT:
                self._extended.add(peer)
        if "send" in step:
            kind = MessageType(self._types[step["send"]["type"]])
            endpoint.send(to, kind, bytes.fromhex(step["send"]["payload"]), now)
        if "ping" in step:
            endpoint.ping(to, now)
        if "forget" in step:
            endpoint.forget(to)

    def _resolve(self, text: str) -> str:
        """Return `text` with every `{name}` replaced by its number."""

        def digits(found: re.Match[str]) -> str:
            number = self._numbers[found[1]] + int(found[2] or 0)
            if found[1].endswith(".timestamp"):
                return f"{number:016x}"
            return f"{number & SEQUENCE_MASK:08x}"

        return REFERENCE.sub(digits, text)

    def _let_pass(self, seconds: float) -> None:
        end = self._now + seconds
        self._flush()
        for _ in range(STUCK):
            at = self._endpoint.next_timeout()
            if at is None or at > end:
                break
            self._now = max(self._now, at)
            self._flush()
            if self._now >= end:
                break
        else:
            raise AssertionError("it asks to be called again and again")
        self._now = end
        self._flush()

    def _flush(self) -> None:
        self._events += self._endpoint.take_events()
        for datagram, to in self._endpoint.datagrams_to_send(self._now):
            (peer,) = (name for name, address in PEERS.items() if address == to)
            self._bytes[peer] += len(datagram)
            self._datagrams.append(datagram)
        self._events += self._endpoint.take_events()

    # --------------------------------------------------------- what it must do

    def _check_sent(self, step: dict[str, Any], peer: str) -> None:
        messages = [message for datagram in self._datagrams for message in self._open(datagram)]
        if peer not in self._extended:
            first = {datagram[0] for datagram in self._datagrams}
            assert not first & {MessageType.BATCH, MessageType.BUSY}
            assert not any(m.type == MessageType.SACK and m.payload for m in messages)
        wholes = list(_wholes(messages))
        required, allowed = step.get("sent", []), step.get("may", [])
        explained: list[Sent] = []
        for pattern in required:
            found = [m for m in [*wholes, *messages] if self._matches(m, pattern)]
            assert found, f"{pattern} not among {messages}"
            explained += found
        for pattern in allowed:
            explained += [m for m in [*wholes, *messages] if self._matches(m, pattern)]
        for pattern in step.get("never", []):
            assert not any(self._matches(m, pattern) for m in messages), pattern
        explained += [chunk for message in explained for chunk in message.chunks]
        rest = [m for m in messages if not any(m is other for other in explained)]
        self._check_acknowledgements(rest, set(step.get("acknowledges", [])), peer)

    def _check_acknowledgements(self, rest: list[Sent], wanted: set[int], peer: str) -> None:
        named: set[int] = set()
        for message in rest:
            if message.type == MessageType.ACK:
                named.add(message.sequence)
            elif message.type == MessageType.SACK:
                for start, end in decode_sack(message.payload) or []:
                    count = distance(start, end) + 1
                    named |= {(start + step) & SEQUENCE_MASK for step in range(count)}
            else:
                assert message.type == MessageType.PING, f"{message} should not be sent"
        assert wanted <= named, f"acknowledged {named}"
        self._acknowledged[peer] |= wanted
        assert named <= self._acknowledged[peer], f"acknowledged {named}"

    def _matches(self, message: Sent, pattern: dict[str, Any]) -> bool:
        sequence = pattern.get("sequence", message.sequence)
        if isinstance(sequence, str):
            sequence = int(self._resolve(sequence), 16)
        name = pattern.get("as")
        if name in self._numbers:
            sequence = self._numbers[name]
        fits = (
            message.type == self._types[pattern["type"]]
            and message.sequence == sequence
            and pattern.get("timestamp", str(message.timestamp)) == str(message.timestamp)
            and pattern.get("payload", message.payload.hex()) == message.payload.hex()
        )
        if fits and name is not None:
            self._numbers[name] = message.sequence
            last = message.sequence + max(len(message.chunks), 1) - 1
            self._numbers[f"{name}.last"] = last & SEQUENCE_MASK
            self._numbers[f"{name}.timestamp"] = message.timestamp
        return fits

    def _open(self, datagram: bytes) -> list[Sent]:
        """Return the messages in a datagram that the endpoint sent."""
        assert len(datagram) <= MTU
        kind, sequence, timestamp, length = HEADER.unpack_from(datagram)
        assert len(datagram) == HEADER_SIZE + length
        payload: bytes | None = datagram[HEADER_SIZE:]
        if self._opener is not None:
            payload = self._opener.open(datagram, timestamp, self._wall_clock())
            self._check_session(datagram)
        assert payload is not None, "not sealed with the key"
        if kind != MessageType.BATCH:
            return [Sent(kind, sequence, timestamp, payload)]
        inner = split_batch(payload)
        assert inner, "a malformed BATCH"
        return [Sent(k, s, t, bytes(p)) for k, s, t, p in inner]

    def _check_session(self, datagram: bytes) -> None:
        start = HEADER_SIZE + SESSION_SIZE
        session, (counter,) = datagram[HEADER_SIZE:start], COUNTER.unpack_from(datagram, start)
        expected = (session, 0) if self._sealed is None else self._sealed
        assert (session, counter) == expected
        self._sealed = (session, counter + 1)

    def _check_events(self, expected: list[dict[str, Any]], peer: str) -> None:
        happened = [self._described(event, peer) for event in self._events]
        for wanted in expected:
            wanted = dict(wanted)
            optional = wanted.pop("optional", False)
            if "messages" in wanted:
                wanted["messages"] = sorted(self._numbers[name] for name in wanted["messages"])
            elif "message" in wanted:
                wanted["message"] = self._numbers[wanted["message"]]
            is_next = bool(happened) and wanted.items() <= happened[0].items()
            assert is_next or optional, f"reported {happened}, not {wanted}"
            if is_next:
                happened.pop(0)
        assert not happened, f"reported {happened}"

    def _described(self, event: Event, peer: str) -> dict[str, Any]:
        assert event.peer == PEERS[peer]
        if isinstance(event, Message):
            (kind,) = (name for name, value in self._types.items() if value == event.message_type)
            return {
                "event": "message",
                "type": kind,
                "sequence": event.sequence,
                "payload": event.payload.hex(),
            }
        if isinstance(event, Delivered):
            return {"event": "delivered", "message": event.sequence}
        if isinstance(event, Pong):
            return {"event": "pong", "rtt": round(event.rtt, 6)}
        return {"event": "unreachable", "messages": sorted(event.sequences)}


def _wholes(messages: list[Sent]) -> list[Sent]:
    """Return the messages of which every CHUNK is in `messages`."""
    groups: dict[tuple[int, ...], list[Sent]] = {}
    for message in messages:
        if message.type == MessageType.CHUNK:
            assert len(message.payload) > CHUNK_HEADER.size
            groups.setdefault(CHUNK_HEADER.unpack_from(message.payload), []).append(message)
    wholes = []
    for (first, length, size, kind), chunks in groups.items():
        assert size >= SMALLEST_CHUNK
        count = -(-length // size)
        pieces = {distance(first, c.sequence): c.payload[CHUNK_HEADER.size :] for c in chunks}
        assert max(pieces) < count
        payload = b"".join(pieces[index] for index in sorted(pieces))
        if len(pieces) == count:
            assert len(payload) == length
            wholes.append(Sent(kind, first, chunks[0].timestamp, payload, chunks))
    return wholes
