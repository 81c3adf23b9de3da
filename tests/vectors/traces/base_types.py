"""What a peer that knows only TASK, RESULT and ACK can rely on."""

from typing import Any

from vectors.generate import CANCEL, ERROR, NOW, PING, RESULT, TASK, message
from vectors.traces.format import OTHER, SMALL, ack, arrived, delivered, out, receive, send, wait


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""
    task = message(TASK, 9, SMALL)
    return [
        {
            "name": "one message each way, with ACK",
            "steps": [
                receive(task, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
                send(RESULT, OTHER, wait=0.02, sent=[out(RESULT, OTHER, "r")]),
                receive(ack("r"), events=[delivered("r")]),
                wait(10),
            ],
        },
        {
            "name": "every type that is delivered once is, whatever its number",
            "steps": [
                receive(
                    message(kind, sequence, SMALL),
                    events=[arrived(kind, sequence, SMALL)],
                    acknowledges=[sequence],
                )
                for kind, sequence in [(TASK, 0), (RESULT, 0xFFFFFFFF), (CANCEL, 77), (ERROR, 5)]
            ],
        },
        {
            "name": "a peer that has shown no extension gets each message alone, and ACKs",
            "steps": [
                receive(
                    task,
                    message(TASK, 11, OTHER),
                    events=[arrived(TASK, 9, SMALL), arrived(TASK, 11, OTHER)],
                    acknowledges=[9, 11],
                ),
                send(RESULT, SMALL, sent=[out(RESULT, SMALL, "r")]),
                send(RESULT, OTHER, wait=0.02, sent=[out(RESULT, OTHER, "s")]),
                receive(ack("s"), ack("r"), events=[delivered("s"), delivered("r")]),
            ],
        },
        {
            "name": "a duplicate is acknowledged again and delivered once",
            "steps": [
                receive(task, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
                receive(task, task, acknowledges=[9]),
                wait(5),
                receive(message(TASK, 9, SMALL, NOW + 5_000_000), acknowledges=[9]),
            ],
        },
        {
            "name": "two peers may use the same number",
            "steps": [
                receive(task, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
                receive(task, peer="b", events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
            ],
        },
        {
            "name": "a type that is not known is ignored",
            "steps": [
                receive(task, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
                receive(
                    message(0x04, 10, SMALL),
                    message(0x1F, 11, SMALL),
                    message(0x26, 12, SMALL),
                    message(0xFF, 13),
                    dropped={"dropped_unknown_type": 4},
                ),
                receive(message(0x7F, 1), peer="b", dropped={"dropped_unknown_type": 1}, wait=1.0),
            ],
        },
        {
            "name": "a datagram whose length does not add up is dropped",
            "steps": [
                receive(
                    task[:16],
                    b"",
                    task[:-1],
                    task + b"\0",
                    message(PING, 1)[:-1],
                    dropped={"dropped_malformed": 5},
                ),
                receive(task, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
            ],
        },
        {
            "name": "an acknowledgement of what was never sent changes nothing",
            "steps": [
                send(TASK, SMALL, wait=0.02, sent=[out(TASK, SMALL, "t")]),
                receive(ack("t+1000"), ack("t-1")),
                wait(4, sent=[out(TASK, SMALL, "t")]),
                receive(ack("t"), events=[delivered("t")]),
                wait(10),
            ],
        },
    ]
