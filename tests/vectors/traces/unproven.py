"""What goes to an address that has not shown that it receives."""

from typing import Any

from vectors.generate import PING, PONG, RESULT, SACK, TASK, message, pattern
from vectors.traces.format import (
    Step,
    ack,
    arrived,
    delivered,
    named,
    numbers,
    out,
    receive,
    send,
    wait,
)


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""
    task = message(TASK, 9, pattern(100))
    came = [arrived(TASK, 9, pattern(100))]
    credit = 3 * len(task)
    pong = named(PONG, "{p}", timestamp="{p.timestamp}")
    answer, small = pattern(1000), pattern(60)

    def begin() -> Step:
        return receive(task, events=came, acknowledges=[9], at_most=credit)

    return [
        {
            "name": "an answer above three times the question waits for a PONG",
            "unproven": True,
            "steps": [
                begin(),
                send(RESULT, answer, wait=0.5, sent=[out(PING, b"", "p")], at_most=credit),
                receive(
                    pong,
                    events=[{"event": "pong", "optional": True}],
                    sent=[out(RESULT, answer, "r")],
                    wait=0.02,
                ),
                receive(ack("r"), events=[delivered("r")]),
                wait(20),
            ],
        },
        {
            "name": "an answer within three times the question goes at once",
            "unproven": True,
            "steps": [
                begin(),
                send(RESULT, small, sent=[out(RESULT, small, "r")], wait=0.02, at_most=credit),
                receive(ack("r"), events=[delivered("r")]),
                send(RESULT, answer, sent=[out(RESULT, answer, "s")], wait=0.02),
                receive(ack("s"), events=[delivered("s")]),
            ],
        },
        {
            "name": "longer questions add to what may go",
            "unproven": True,
            "steps": [
                begin(),
                send(RESULT, answer, wait=0.5, sent=[out(PING, b"", "p")], at_most=credit),
                receive(
                    *(message(TASK, number, pattern(500)) for number in (20, 21)),
                    events=[arrived(TASK, number, pattern(500)) for number in (20, 21)],
                    acknowledges=[20, 21],
                    sent=[out(RESULT, answer, "r")],
                    at_most=credit + 6 * 517,
                    wait=0.5,
                ),
            ],
        },
        {
            "name": "an acknowledgement that names what was never sent shows nothing",
            "unproven": True,
            "steps": [
                begin(),
                send(RESULT, small, sent=[out(RESULT, small, "r")], at_most=credit),
                send(RESULT, answer, wait=0.1, at_most=credit),
                receive(ack("r+1000"), ack("r-1"), wait=0.1, at_most=credit + 3 * 34),
                receive(
                    message(SACK, 0, numbers((0, 0x7FFFFFFF), (0x80000000, 0xFFFFFFFF))),
                    wait=5,
                    at_most=credit + 3 * (34 + 33),
                    may=[out(RESULT, small, "r")],
                    events=[{**delivered("r"), "optional": True}],
                ),
            ],
        },
        {
            "name": "a PONG that answers no PING shows nothing",
            "unproven": True,
            "steps": [
                begin(),
                send(RESULT, answer, wait=0.5, sent=[out(PING, b"", "p")], at_most=credit),
                receive(named(PONG, "{p+1000}"), wait=1, at_most=credit + 3 * 17),
            ],
        },
        {
            "name": "who shows nothing for 8 s is given up, and may ask again",
            "unproven": True,
            "steps": [
                begin(),
                send(RESULT, answer, wait=0.5, sent=[out(PING, b"", "p")], at_most=credit),
                wait(
                    9,
                    events=[{"event": "unreachable"}],
                    at_most=credit,
                ),
                receive(task, events=came, acknowledges=[9], at_most=2 * credit),
            ],
        },
    ]  # fmt: skip
