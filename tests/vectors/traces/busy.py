"""A receiver without memory for a message, and a sender that is told so."""

from typing import Any

from vectors.generate import BUSY, CHUNK, RESULT, chunk, pattern
from vectors.traces.format import (
    LARGE,
    SMALL,
    ack,
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
    whole = pattern(5000)
    return [
        {
            "name": "a message for which there is no memory is answered with BUSY, and taken later",
            "limits": {"memory": 6000, "peer_memory": 6000},
            "steps": [
                receive(chunk(1, 0, RESULT, whole, 1172), peer="b", acknowledges=[1]),
                receive(
                    chunk(1000, 1, RESULT, LARGE, 1172),
                    sent=[out(BUSY, b"", sequence=1000)],
                    dropped={"dropped_over_memory": 1},
                ),
                receive(
                    *(chunk(1, index, RESULT, whole, 1172) for index in range(1, 5)),
                    peer="b",
                    events=[arrived(RESULT, 1, whole)],
                    acknowledges=[2, 3, 4, 5],
                ),
                receive(
                    *(chunk(1000, index, RESULT, LARGE, 1172) for index in range(3)),
                    events=[arrived(RESULT, 1000, LARGE)],
                    acknowledges=[1000, 1001, 1002],
                ),
            ],
        },
        {
            "name": "a message answered with BUSY begins again after a quarter of a second",
            "steps": [
                send(RESULT, LARGE, sent=[out(RESULT, LARGE, "r")], wait=0.02),
                receive(named(BUSY, "{r}")),
                wait(0.2),
                wait(0.2, sent=[out(RESULT, LARGE, "r")]),
                receive(sack(("r", "r.last")), events=[delivered("r")]),
                wait(20),
            ],
        },
        {
            "name": "BUSY for a message of which something has arrived is ignored",
            "steps": [
                send(RESULT, LARGE, sent=[out(RESULT, LARGE, "r")], wait=0.02),
                receive(sack(("r", "r"))),
                receive(named(BUSY, "{r}")),
                wait(4, sent=[out(CHUNK, sequence="{r+1}")], may=[out(CHUNK)],
                     never=[out(CHUNK, sequence="{r}")]),
                receive(sack(("r+1", "r.last")), events=[delivered("r")]),
                wait(20),
            ],
        },
        {
            "name": "BUSY for what was never sent is ignored",
            "steps": [
                send(RESULT, SMALL, sent=[out(RESULT, SMALL, "r")], wait=0.02),
                receive(named(BUSY, "{r}"), named(BUSY, "{r+5}")),
                wait(4, sent=[out(RESULT, SMALL, "r")]),
                receive(ack("r"), events=[delivered("r")]),
            ],
        },
    ]  # fmt: skip
