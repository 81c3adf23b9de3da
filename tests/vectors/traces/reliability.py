"""What is repeated, until when, and what is reported of it."""

from typing import Any

from vectors.generate import CHUNK, RESULT, TASK
from vectors.traces.format import (
    LARGE,
    OTHER,
    SMALL,
    ack,
    delivered,
    out,
    receive,
    send,
    unreachable,
    wait,
)


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""
    return [
        {
            "name": "a message that is not acknowledged is sent again under its number",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")]),
                wait(3, sent=[out(TASK, SMALL, "t")]),
                receive(ack("t"), events=[delivered("t")]),
                wait(20),
            ],
        },
        {
            "name": "what is acknowledged is not sent again, what is not is",
            "steps": [
                send(RESULT, SMALL, sent=[out(RESULT, SMALL, "r")]),
                send(RESULT, OTHER, wait=0.02, sent=[out(RESULT, OTHER, "s")]),
                receive(ack("s"), events=[delivered("s")]),
                wait(4, sent=[out(RESULT, SMALL, "r")]),
                receive(ack("r"), events=[delivered("r")]),
                wait(20),
            ],
        },
        {
            "name": "a peer silent for 8 s is given up, and everything that waits with it",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")]),
                send(TASK, LARGE, sent=[out(TASK, LARGE, "l")]),
                wait(
                    7.5,
                    sent=[out(TASK, SMALL, "t")],
                    may=[out(TASK, LARGE, "l"), out(CHUNK)],
                ),
                wait(
                    1.5,
                    events=[unreachable("t", "l")],
                    may=[out(TASK, SMALL, "t"), out(TASK, LARGE, "l"), out(CHUNK)],
                ),
                wait(30),
                receive(ack("t")),
                send(TASK, OTHER, sent=[out(TASK, OTHER, "u")]),
                receive(ack("u"), events=[delivered("u")]),
                wait(20),
            ],
        },
        {
            "name": "a peer that acknowledges something now and then is not given up",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")]),
                send(TASK, OTHER, sent=[out(TASK, OTHER, "u")]),
                wait(6, sent=[out(TASK, SMALL, "t"), out(TASK, OTHER, "u")]),
                receive(ack("u"), events=[delivered("u")]),
                wait(6, sent=[out(TASK, SMALL, "t")]),
                receive(ack("t"), events=[delivered("t")]),
                wait(20),
            ],
        },
        {
            "name": "a peer that is forgotten is sent nothing more",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")]),
                {"forget": True},
                wait(20),
            ],
        },
    ]
