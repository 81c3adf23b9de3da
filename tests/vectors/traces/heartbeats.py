"""HEARTBEAT with its ACK, and PING with its PONG."""

from typing import Any

from vectors.generate import ACK, CHUNK, HEARTBEAT, NOW, PING, PONG, message
from vectors.traces.format import (
    LARGE,
    OTHER,
    SMALL,
    arrived,
    delivered,
    named,
    out,
    receive,
    sack,
    send,
    wait,
)


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""
    old = NOW - 3_600_000_000
    beat = message(HEARTBEAT, 8, SMALL, old)
    answer = out(ACK, b"", sequence=8, timestamp=str(old))
    return [
        {
            "name": "a HEARTBEAT is acknowledged with its timestamp, and delivered each time",
            "steps": [
                receive(beat, events=[arrived(HEARTBEAT, 8, SMALL)], sent=[answer]),
                receive(beat, events=[arrived(HEARTBEAT, 8, SMALL)], sent=[answer], wait=5),
                receive(
                    message(HEARTBEAT, 9),
                    events=[arrived(HEARTBEAT, 9, b"")],
                    sent=[out(ACK, b"", sequence=9, timestamp=str(NOW))],
                ),
            ],
        },
        {
            "name": "a HEARTBEAT goes once, and its ACK says that it was delivered",
            "steps": [
                send(HEARTBEAT, SMALL, wait=0.02, sent=[out(HEARTBEAT, SMALL, "h")]),
                receive(
                    named(ACK, "{h}", timestamp="{h.timestamp}"),
                    events=[delivered("h")],
                ),
                send(HEARTBEAT, OTHER, sent=[out(HEARTBEAT, OTHER, "i")]),
                wait(20),
            ],
        },
        {
            "name": "a HEARTBEAT too large for one datagram is repeated like any message",
            "steps": [
                send(HEARTBEAT, LARGE, sent=[out(HEARTBEAT, LARGE, "h")]),
                wait(4, may=[out(HEARTBEAT)], sent=[out(CHUNK)]),
                receive(sack(("h", "h.last")), events=[delivered("h")]),
                wait(10),
            ],
        },
        {
            "name": "a PONG carries the PING's sequence and timestamp, and no payload",
            "steps": [
                receive(
                    message(PING, 7, b"", 123),
                    sent=[out(PONG, b"", sequence=7, timestamp="123")],
                ),
                receive(
                    message(PING, 8, bytes(500), 124),
                    sent=[out(PONG, b"", sequence=8, timestamp="124")],
                ),
                receive(
                    message(PING, 8, b"", 125),
                    sent=[out(PONG, b"", sequence=8, timestamp="125")],
                    wait=5,
                ),
            ],
        },
        {
            "name": "the answer to a PING measures the round trip, once",
            "steps": [
                {"ping": True, "wait": 0.02, "sent": [out(PING, None, "p")]},
                receive(
                    named(PONG, "{p}", timestamp="{p.timestamp}"),
                    events=[{"event": "pong", "rtt": 0.02}],
                ),
                receive(
                    named(PONG, "{p}", timestamp="{p.timestamp}"),
                    named(PONG, "{p+1}"),
                    wait=5,
                ),
            ],
        },
    ]
