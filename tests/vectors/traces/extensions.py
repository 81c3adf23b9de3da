"""Introduction, SACK and BATCH."""

from typing import Any

from vectors.generate import BATCH, CANCEL, PING, SACK, TASK, message
from vectors.traces.format import (
    INTRODUCTION,
    LARGE,
    OTHER,
    SMALL,
    ack,
    arrived,
    delivered,
    named,
    numbers,
    out,
    receive,
    sack,
    send,
    wait,
)


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""
    task, other = message(TASK, 9, SMALL), message(TASK, 10, OTHER)
    ranges = numbers(*((2 * n, 2 * n) for n in range(65)))
    return [
        {
            "name": "who writes first shows once, with an empty SACK, that it knows the extensions",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t"), out(SACK, b"")], wait=0.02),
                receive(ack("t"), events=[delivered("t")]),
                send(TASK, OTHER, sent=[out(TASK, OTHER, "u")], never=[out(SACK)], wait=0.02),
                receive(ack("u"), events=[delivered("u")]),
            ],
        },
        {
            "name": "who is told so tells it in return",
            "steps": [
                receive(
                    task,
                    INTRODUCTION,
                    events=[arrived(TASK, 9, SMALL)],
                    acknowledges=[9],
                    sent=[out(SACK)],
                ),
            ],
        },
        {
            "name": "a SACK acknowledges messages by ranges",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")]),
                send(TASK, OTHER, sent=[out(TASK, OTHER, "u")]),
                send(TASK, LARGE, sent=[out(TASK, LARGE, "v")], wait=0.02),
                receive(sack(("u", "u"), ("v", "v.last")), events=[delivered("u"), delivered("v")]),
                wait(4, sent=[out(TASK, SMALL, "t")]),
                receive(sack(("t", "v.last")), events=[delivered("t")]),
                wait(20),
            ],
        },
        {
            "name": "a SACK that repeats what is known, or has no ranges, changes nothing",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")], wait=0.02),
                receive(INTRODUCTION),
                receive(sack(("t", "t")), events=[delivered("t")]),
                receive(sack(("t", "t")), ack("t")),
                wait(20),
            ],
        },
        {
            "name": "a malformed SACK is dropped and acknowledges nothing",
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")], wait=0.02),
                receive(
                    named(SACK, "00000000", "{t}"),
                    message(SACK, 0, ranges),
                    dropped={"dropped_malformed": 2},
                ),
                wait(4, sent=[out(TASK, SMALL, "t")]),
                receive(ack("t"), events=[delivered("t")]),
            ],
        },
        {
            "name": "what arrives in a BATCH counts as if it had come alone, in this order",
            "steps": [
                receive(
                    message(BATCH, 0, task + message(CANCEL, 12, SMALL) + other),
                    events=[
                        arrived(TASK, 9, SMALL),
                        arrived(CANCEL, 12, SMALL),
                        arrived(TASK, 10, OTHER),
                    ],
                    acknowledges=[9, 10, 12],
                ),
                receive(message(BATCH, 0, task + task), acknowledges=[9]),
                receive(message(BATCH, 0)),
            ],
        },
        {
            "name": "a BATCH that is malformed is dropped whole",
            "steps": [
                receive(
                    message(BATCH, 0, task + other[:16]),
                    message(BATCH, 0, task + other[:-1]),
                    message(BATCH, 0, task + other + b"\0"),
                    message(BATCH, 0, task + message(BATCH, 0, other)),
                    message(BATCH, 0, task + message(PING, 1)),
                    dropped={"dropped_malformed": 5},
                ),
                receive(task, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
            ],
        },
        {
            "name": "a message of a type that is not known does not spoil its BATCH",
            "steps": [
                receive(
                    message(BATCH, 0, message(0x7F, 1, SMALL) + task),
                    events=[arrived(TASK, 9, SMALL)],
                    acknowledges=[9],
                    dropped={"dropped_unknown_type": 1},
                ),
            ],
        },
    ]
