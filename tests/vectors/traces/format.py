"""The format of traces.json, and short names for what it is made of."""

import struct
from typing import Any

from vectors.generate import (
    ACK,
    BATCH,
    BUSY,
    CANCEL,
    CHUNK,
    ERROR,
    HEARTBEAT,
    NOW,
    PING,
    PONG,
    RESULT,
    SACK,
    TASK,
    message,
    pattern,
)

Step = dict[str, Any]

ABOUT = """\
Conformance traces of DAIIC's transport (docs/transport.md). Each trace is an exchange as one
endpoint sees it: what happens to the endpoint, and what it must do. How an endpoint paces what it
sends, when it repeats something, and at which sequence number it begins is its own affair; a trace
asks only for what the specification asks for. Bytes are in hex, 64-bit numbers are strings.

A trace begins with a new endpoint, whose wall clock shows `now` (microseconds since the Epoch).
  key       true: it has the cluster key `key`, and what arrives is sealed already
  unproven  true: it is wary of addresses that have shown nothing, as a head is
  limits    those of the specification's table that differ from their defaults
  steps     see below

A step does at most one thing to the endpoint, concerning the peer `peer` ("a" if not given):
  receive   these datagrams arrive, one after the other
  send      the application sends a message of this `type` and `payload`
  ping      the application sends a PING
  forget    the application forgets the peer
  echo      the first datagram that the endpoint sent in the step before comes back to it
Then time goes on for `wait` seconds (0 if not given): both clocks advance, and the endpoint is
called whenever its timeout is due. What it reports and sends from the beginning of the step to its
end is compared with the rest of the step:
  events    what it reports, exactly, in this order; those that are `optional` may be missing.
            message: a message has arrived, with its type, sequence and payload.
            delivered: the peer has acknowledged all of `message`, small or in CHUNKs.
            pong: the peer answered a PING, after `rtt` seconds if that is given.
            unreachable: the peer was given up, and with it these `messages`, in any order; if
            none are given, it does not matter which.
            An endpoint may report more kinds of event than these; ignore them.
  sent      messages that it must send, each at least once
  may       messages that it may send besides
  never     messages that it must not send
  acknowledges  numbers that it must acknowledge, with ACKs or SACKs
  dropped   by how much the counters `dropped_...` go up; by nothing if not given
  at_most   bytes of datagrams that it has sent to the peer since the trace began, at the most
It must send nothing else, with two exceptions: a PING and a SACK without ranges may always be sent,
and a SACK may repeat what was acknowledged in an earlier step.

To compare, open what is sealed and split BATCHes. If all CHUNKs of a message are sent within one
step, they count as that message too, under its first number; whatever allows it allows them. A
message in `sent`, `may` or `never` is given by the fields that must be equal: type, sequence,
timestamp, payload. With `as`, its sequence number gets that name, or must be the number of that
name if there is one already.

`{x}` in a datagram stands for the number named x, as 8 digits; {x+1} is the number one later, past
the wrap if need be. {x.last} is the number of the last CHUNK of the message x, and {x.timestamp}
its timestamp, as 16 digits. `sequence` may be such a text too.

Throughout, every datagram that the endpoint sends must have at most 1200 bytes and a length that
adds up, and must be sealed if there is a key: under one session, with counters 0, 1, 2 ... A peer
that has sent no SACK, CHUNK, BATCH or BUSY so far must be sent no BATCH, BUSY or SACK with ranges.
"""

TYPES = {
    "HEARTBEAT": HEARTBEAT,
    "TASK": TASK,
    "RESULT": RESULT,
    "ACK": ACK,
    "PING": PING,
    "PONG": PONG,
    "SACK": SACK,
    "CHUNK": CHUNK,
    "CANCEL": CANCEL,
    "ERROR": ERROR,
    "BATCH": BATCH,
    "BUSY": BUSY,
}
NAMES = {value: name for name, value in TYPES.items()}

SMALL = b"a small message"
OTHER = b"another message"
LARGE = pattern(2500)


# ---------------------------------------------------------------- what happens


def receive(*datagrams: bytes | str, **more: Any) -> Step:
    texts = [d if isinstance(d, str) else d.hex() for d in datagrams]
    return {"receive": texts, **more}


def send(kind: int, payload: bytes, **more: Any) -> Step:
    return {"send": {"type": NAMES[kind], "payload": payload.hex()}, **more}


def wait(seconds: float, **more: Any) -> Step:
    return {"wait": seconds, **more}


def named(kind: int, sequence: str, payload: str = "", timestamp: str = f"{NOW:016x}") -> str:
    """Return a datagram from the peer that names a number of the endpoint's."""
    # A reference stands for 8 digits, and nothing else in a payload is one.
    digits = sum(8 if part.startswith("{") else len(part) for part in _parts(payload))
    return f"{kind:02x}{sequence}{timestamp}{digits // 2:08x}{payload}"


def _parts(payload: str) -> list[str]:
    parts = []
    for piece in payload.split("{"):
        name, closed, rest = piece.partition("}")
        parts += ["{" + name + "}", rest] if closed else [piece]
    return parts


def ack(name: str) -> str:
    return named(ACK, "{" + name + "}")


def sack(*ranges: tuple[str, str]) -> str:
    return named(SACK, "00000000", "".join("{" + a + "}{" + b + "}" for a, b in ranges))


def numbers(*ranges: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">II", first, last) for first, last in ranges)


INTRODUCTION = message(SACK, 0)


# --------------------------------------------------------- what must be done


def arrived(kind: int, sequence: int, payload: bytes) -> dict[str, Any]:
    return {
        "event": "message",
        "type": NAMES[kind],
        "sequence": sequence,
        "payload": payload.hex(),
    }


def delivered(message: str) -> dict[str, Any]:
    return {"event": "delivered", "message": message}


def unreachable(*messages: str) -> dict[str, Any]:
    return {"event": "unreachable", "messages": list(messages)}


def out(kind: int, payload: bytes | None = None, name: str = "", **more: Any) -> dict[str, Any]:
    """Return a message to compare with; `name` is for `as`."""
    wanted: dict[str, Any] = {"type": NAMES[kind], **more}
    if payload is not None:
        wanted["payload"] = payload.hex()
    if name:
        wanted["as"] = name
    return wanted
