"""What the cluster key keeps out."""

from typing import Any

from vectors.generate import BATCH, NOW, PING, PONG, RESULT, TASK, flipped, message, seal
from vectors.traces.format import LARGE, OTHER, SMALL, arrived, out, receive, send, wait


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""
    task, other = message(TASK, 9, SMALL), message(TASK, 10, OTHER)
    late = bytes(range(0xC0, 0xD0))
    minute = 60_000_000
    sealed = seal(5, task)
    return [
        {
            "name": "what is sealed with the key is taken, and answered sealed",
            "key": True,
            "steps": [
                receive(sealed, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
                receive(
                    seal(6, message(PING, 7, b"", 123)),
                    sent=[out(PONG, b"", sequence=7, timestamp="123")],
                ),
                receive(
                    seal(7, message(BATCH, 0, task + other)),
                    events=[arrived(TASK, 10, OTHER)],
                    acknowledges=[9, 10],
                ),
                send(RESULT, LARGE, sent=[out(RESULT, LARGE, "r")]),
            ],
        },
        {
            "name": "what is not sealed with the key is dropped without an answer",
            "key": True,
            "steps": [
                receive(
                    task,
                    message(PING, 1),
                    message(TASK, 9, bytes(40)),
                    seal(0, task, key=bytes(32), session=late),
                    flipped(sealed, 0),
                    flipped(sealed, 4),
                    flipped(sealed, 12),
                    flipped(sealed, 40),
                    flipped(sealed, 45),
                    flipped(sealed, len(sealed) - 1),
                    dropped={"dropped_forged": 10},
                ),
                receive(flipped(sealed, 16), sealed[:-1], dropped={"dropped_malformed": 2}),
                receive(sealed, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
            ],
        },
        {
            "name": "a datagram that was taken before is dropped, whoever sends it",
            "key": True,
            "steps": [
                receive(sealed, events=[arrived(TASK, 9, SMALL)], acknowledges=[9]),
                receive(sealed, dropped={"dropped_replayed": 1}),
                receive(sealed, peer="b", dropped={"dropped_replayed": 1}),
                receive(seal(3, other), events=[arrived(TASK, 10, OTHER)], acknowledges=[10]),
                receive(seal(16389, message(PING, 1)), sent=[out(PONG, b"", sequence=1)]),
                receive(
                    seal(4, message(PING, 2)),
                    seal(5, message(PING, 3)),
                    dropped={"dropped_replayed": 2},
                ),
                receive(seal(6, message(PING, 4)), sent=[out(PONG, b"", sequence=4)]),
            ],
        },
        {
            "name": "an endpoint drops what comes from its own session",
            "key": True,
            "steps": [
                send(TASK, SMALL, sent=[out(TASK, SMALL, "t")]),
                {"echo": True, "dropped": {"dropped_replayed": 1}},
            ],
        },
        {
            "name": "a session that is not known must be of the present",
            "key": True,
            "steps": [
                receive(
                    seal(0, message(TASK, 9, SMALL, NOW - minute - 1), session=late),
                    seal(0, message(TASK, 9, SMALL, NOW + minute + 1), session=late),
                    dropped={"dropped_clock_skew": 2},
                ),
                receive(
                    seal(0, message(TASK, 9, SMALL, NOW - minute), session=late),
                    events=[arrived(TASK, 9, SMALL)],
                    acknowledges=[9],
                ),
                receive(
                    seal(1, message(TASK, 10, OTHER, NOW - 10 * minute), session=late),
                    events=[arrived(TASK, 10, OTHER)],
                    acknowledges=[10],
                ),
                wait(61),
                receive(
                    seal(0, message(PING, 1, b"", NOW)), dropped={"dropped_clock_skew": 1}
                ),
            ],
        },
    ]  # fmt: skip
