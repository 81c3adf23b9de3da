"""Writes sync.json, the test vectors of what heads tell each other (docs/cluster.md).

It encodes messages with nothing but the rules of Protocol Buffers, and follows the text for what a
reader has after each. The same vectors come out every time; `python tests/vectors/generate_sync.py`
rewrites the file after a change of the protocol.
"""

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("sync.json")
ABOUT = (
    "Test vectors of SYNC messages (docs/cluster.md). Bytes are in hex. Of `messages`, `json` is "
    "what the bytes mean; those with `drop` are no message that a head may send. Of `readers`, "
    "each has taken no message of that sender before; after each step it has `version`, and knows "
    "`queued` and the tasks on `workers`. Written by tests/vectors/generate_sync.py."
)
MOST = 1143
READY, DRAINING, MASTER = 2, 3, 3
A, B = "6f1d9a3c5e7b8042", "0b5e4f7a91c2d3e8"
START, OTHER = 0x123456789ABCDEF0, 77


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | str | bytes) -> bytes:
    """Return a field, which is written even if it is 0."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def fields(**values: tuple[int, int | str | bytes]) -> bytes:
    """Return those of `values` that are not empty; each is a number and what it has."""
    return b"".join(field(number, value) for number, value in values.values() if value)


def worker(name: str, assigned: int = 0, group: int | None = None, aside: bool = False) -> bytes:
    content = fields(id=(1, name), assigned=(2, assigned))
    content += field(3, group) if group is not None else b""
    return field(11, content + fields(aside=(4, int(aside))))


def link(head: str, rtt_ms: int | None) -> bytes:
    return field(10, field(1, head) + (field(2, rtt_ms) if rtt_ms is not None else b""))


def figures(*values: tuple[int, int | str]) -> bytes:
    return field(9, b"".join(field(number, value) for number, value in values))


def sync(
    base: int,
    version: int,
    *facts: bytes,
    head_id: str = A,
    incarnation: int = START,
    known: tuple[int, int] = (OTHER, 5),
    sent: int = 1_000_000,
    echo: int = 2_000_000,
) -> bytes:
    header = fields(
        head_id=(1, head_id),
        incarnation=(2, incarnation),
        base=(3, base),
        version=(4, version),
        known_incarnation=(5, known[0]),
        known_version=(6, known[1]),
        sent=(7, sent),
        echo=(8, echo),
    )
    return header + b"".join(facts)


def messages() -> list[dict[str, Any]]:
    whose = {"headId": A, "incarnation": str(START)}
    told = {
        **whose,
        "knownIncarnation": "77",
        "knownVersion": "5",
        "sentUs": "1000000",
        "echoUs": "2000000",
    }
    greeting = {**whose, "sentUs": "1000000"}
    meant = [
        ("greeting", sync(0, 0, known=(0, 0), echo=0), greeting),
        ("nothing new", sync(9, 9), {**told, "base": "9", "version": "9"}),
        (
            "all",
            sync(
                0,
                9,
                figures((1, "0.1.0"), (2, READY), (3, 2), (4, 0), (5, 1), (6, MASTER)),
                link(B, 0),
                worker("w1", 1, 0),
                worker("w2", 0, -1, aside=True),
            ),
            {
                **told,
                "version": "9",
                "head": {
                    "version": "0.1.0",
                    "state": "READY",
                    "workers": 2,
                    "queued": 0,
                    "inFlight": 1,
                    "role": "MASTER",
                },
                "links": [{"headId": B, "rttMs": 0}],
                "workers": [
                    {"workerId": "w1", "assigned": 1, "group": 0},
                    {"workerId": "w2", "group": -1, "setAside": True},
                ],
            },
        ),
        (
            "what holds no more",
            sync(9, 11, link(B, None), worker("w1")),
            {
                **told,
                "base": "9",
                "version": "11",
                "links": [{"headId": B}],
                "workers": [{"workerId": "w1"}],
            },
        ),
    ]
    dropped = [
        ("no id", sync(0, 0, head_id="")),
        ("an id that is too long", sync(0, 0, head_id="x" * 257)),
        ("no incarnation", sync(0, 0, incarnation=0)),
        ("a base after the version", sync(3, 2)),
        ("a version that is too large", sync(0, 1 << 62)),
        ("a field that is cut short", sync(0, 1, worker("w1", 1))[:-1]),
        ("more than a datagram", sync(0, 1, *[worker(f"worker-{n:03}", 1) for n in range(70)])),
    ]
    assert len(dropped[-1][1]) > MOST
    return [
        *({"name": name, "payload": payload.hex(), "json": json} for name, payload, json in meant),
        *({"name": name, "payload": payload.hex(), "drop": True} for name, payload in dropped),
    ]


def readers() -> list[dict[str, Any]]:
    def queued(number: int) -> bytes:
        return figures((4, number))

    first = sync(0, 3, queued(1), worker("w1", 1), worker("w2", 2))
    second = sync(3, 4, worker("w1", 3))
    third = sync(4, 6, queued(9), worker("w2"))
    after_1 = (3, 1, {"w1": 1, "w2": 2})
    after_2 = (4, 1, {"w1": 3, "w2": 2})
    after_3 = (6, 9, {"w1": 3})
    stories = {
        "in order": [(first, after_1), (second, after_2), (third, after_3)],
        "what comes twice changes nothing": [
            (first, after_1),
            (second, after_2),
            (first, after_2),
            (second, after_2),
        ],
        "what comes early waits": [
            (second, (0, 0, {})),
            (third, (0, 0, {})),
            (first, after_3),
        ],
        "what is sent again may have more in it": [
            (first, after_1),
            (third, after_1),
            (sync(3, 7, worker("w1", 3), queued(10), worker("w2", 5)), (7, 10, {"w1": 3, "w2": 5})),
        ],
        "a base of 0 makes void what was told before": [
            (first, after_1),
            (sync(0, 8, queued(2), worker("w3", 1)), (8, 2, {"w3": 1})),
            (second, (8, 2, {"w3": 1})),
        ],
    }
    return [
        {
            "name": name,
            "steps": [
                {"payload": payload.hex(), "version": version, "queued": queue, "workers": workers}
                for payload, (version, queue, workers) in steps
            ],
        }
        for name, steps in stories.items()
    ]


def content() -> str:
    """Return what the file has to be."""
    everything = {"about": ABOUT, "messages": messages(), "readers": readers()}
    return json.dumps(everything, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(content(), "utf-8")
