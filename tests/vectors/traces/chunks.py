"""Large messages in CHUNKs, both ways."""

import struct
from typing import Any

from vectors.generate import ACK, CHUNK, ERROR, RESULT, TASK, chunk, message, pattern
from vectors.traces.format import LARGE, SMALL, arrived, delivered, out, receive, sack, send, wait


def traces() -> list[dict[str, Any]]:
    """Return the traces of this file."""

    def piece(first: int, index: int, size: int = 300, whole: bytes = LARGE) -> bytes:
        return chunk(first, index, RESULT, whole, size)

    def contradicting(index: int, total: int, size: int, kind: int, data: bytes) -> bytes:
        head = struct.pack(">IIHB", 100, total, size, kind)
        return message(CHUNK, 100 + index, head + data)

    short = pattern(600)
    order = [4, 8, 0, 2, 6, 1, 7, 3]
    return [
        {
            "name": "a large message arrives in CHUNKs, in any order and with gaps",
            "steps": [
                *(
                    receive(piece(1000, index), acknowledges=[1000 + index], wait=0.01)
                    for index in order
                ),
                receive(piece(1000, 2), acknowledges=[1002]),
                receive(piece(1000, 5), events=[arrived(RESULT, 1000, LARGE)], acknowledges=[1005]),
                receive(
                    *(piece(1000, index) for index in range(9)),
                    acknowledges=[1000 + index for index in range(9)],
                ),
                wait(40),
            ],
        },
        {
            "name": "the numbers of CHUNKs go past the wrap",
            "steps": [
                receive(
                    *(piece(0xFFFFFFFC, index) for index in (8, 3, 4, 0)),
                    acknowledges=[4, 0xFFFFFFFF, 0, 0xFFFFFFFC],
                ),
                receive(
                    *(piece(0xFFFFFFFC, index) for index in (1, 2, 5, 6, 7)),
                    events=[arrived(RESULT, 0xFFFFFFFC, LARGE)],
                    acknowledges=[0xFFFFFFFD, 0xFFFFFFFE, 1, 2, 3],
                ),
            ],
        },
        {
            "name": "two large messages may arrive at once, with other messages between",
            "steps": [
                receive(piece(1000, 0, 2000), acknowledges=[1000]),
                receive(piece(2000, 1, 2000), acknowledges=[2001]),
                receive(
                    message(TASK, 1, SMALL), events=[arrived(TASK, 1, SMALL)], acknowledges=[1]
                ),
                receive(
                    piece(2000, 0, 2000),
                    events=[arrived(RESULT, 2000, LARGE)],
                    acknowledges=[2000],
                ),
                receive(
                    piece(1000, 1, 2000),
                    events=[arrived(RESULT, 1000, LARGE)],
                    acknowledges=[1001],
                ),
            ],
        },
        {
            "name": "a CHUNK that contradicts the others is dropped, and spoils nothing",
            "steps": [
                receive(piece(100, 0, whole=short), acknowledges=[100]),
                receive(
                    contradicting(1, 601, 300, RESULT, pattern(300)),
                    contradicting(1, 600, 299, RESULT, pattern(299)),
                    contradicting(1, 600, 300, TASK, pattern(300)),
                    contradicting(1, 600, 300, RESULT, pattern(299)),
                    contradicting(2, 600, 300, RESULT, pattern(300)),
                    contradicting(-1, 600, 300, RESULT, pattern(300)),
                    dropped={"dropped_malformed": 6},
                ),
                receive(
                    piece(100, 1, whole=short),
                    events=[arrived(RESULT, 100, short)],
                    acknowledges=[101],
                ),
            ],
        },
        {
            "name": "a CHUNK that no message can have is dropped",
            "steps": [
                receive(
                    message(CHUNK, 100, bytes(10)),
                    contradicting(0, 600, 300, RESULT, b""),
                    contradicting(0, 600, 255, RESULT, pattern(255)),
                    contradicting(0, 0, 300, RESULT, pattern(300)),
                    contradicting(0, 600, 300, ACK, pattern(300)),
                    contradicting(0, 600, 300, CHUNK, pattern(300)),
                    dropped={"dropped_malformed": 6},
                ),
                receive(
                    piece(100, 0, whole=short),
                    piece(100, 1, whole=short),
                    events=[arrived(RESULT, 100, short)],
                    acknowledges=[100, 101],
                ),
            ],
        },
        {
            "name": "a message of which nothing comes for 30 s is dropped",
            "steps": [
                receive(piece(1000, 0, 2000), acknowledges=[1000]),
                wait(45),
                receive(piece(1000, 1, 2000), acknowledges=[1001]),
                receive(
                    piece(1000, 0, 2000),
                    events=[arrived(RESULT, 1000, LARGE)],
                    acknowledges=[1000],
                ),
            ],
        },
        {
            "name": "a message that is too large is acknowledged and dropped",
            "limits": {"max_message": 2000},
            "steps": [
                receive(
                    piece(1000, 1, 1172),
                    piece(1000, 2, 1172),
                    piece(1000, 1, 1172),
                    acknowledges=[1001, 1002],
                    dropped={"dropped_oversized": 3},
                ),
                receive(
                    piece(100, 0, whole=short),
                    piece(100, 1, whole=short),
                    events=[arrived(RESULT, 100, short)],
                    acknowledges=[100, 101],
                ),
            ],
        },
        {
            "name": "an ERROR above 64 KiB is too large",
            "steps": [
                receive(
                    message(CHUNK, 51, struct.pack(">IIHB", 50, 65537, 300, ERROR) + pattern(300)),
                    acknowledges=[51],
                    dropped={"dropped_oversized": 1},
                ),
                receive(
                    message(
                        CHUNK, 951, struct.pack(">IIHB", 950, 65536, 300, ERROR) + pattern(300)
                    ),
                    acknowledges=[951],
                ),
            ],
        },
        {
            "name": "what is lost of a large message is sent again, and no more",
            "steps": [
                send(RESULT, LARGE, sent=[out(RESULT, LARGE, "r")], wait=0.02),
                receive(sack(("r+1", "r.last"))),
                wait(4, sent=[out(CHUNK, sequence="{r}")]),
                receive(sack(("r", "r")), events=[delivered("r")]),
                wait(20),
            ],
        },
    ]
