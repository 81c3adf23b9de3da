"""Writes domains.json, the test vectors of domain traffic (docs/transport.md, Domain traffic).

It follows the text and nothing else, in the plainest way. The same vectors come out every time;
`python tests/vectors/generate_domains.py` rewrites the file.
"""

import json
import random
import struct
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("domains.json")
ABOUT = (
    "Test vectors of domain traffic (docs/transport.md). Bytes are in hex; payloads with `drop` "
    "are none of their type. Of `reliable`, `steps` are RELIABLE payloads in the order in which "
    "they arrive from one peer, and `bodies` those that are delivered then. Written by "
    "tests/vectors/generate_domains.py."
)
CHANNEL = 0x10
SEED = 5
Step = dict[str, Any]


def header(kind: int, sequence: int, timestamp: int, payload: bytes) -> bytes:
    return struct.pack(">BIQI", kind, sequence, timestamp, len(payload)) + payload


def position(x: float, y: float, z: float) -> bytes:
    return struct.pack(">fff", x, y, z)


def game_event(kind: int, text: str) -> bytes:
    return bytes([kind]) + text.encode()


def reliable(number: int, behind: int, body: bytes, epoch: int = 7) -> bytes:
    return struct.pack(">BBQI", CHANNEL, behind, epoch, number) + body


def reading(start: int, number: int, value: int, sensor: str, device: str) -> bytes:
    fixed = struct.pack(">BIIq", 1, start, number, value)
    names = (name.encode() for name in (sensor, device))
    return fixed + b"".join(struct.pack(">H", len(name)) + name for name in names)


class Receiver:
    """What docs/transport.md asks of who puts RELIABLEs in order; it keeps all that is early."""

    def __init__(self) -> None:
        self.epoch = -1
        self.expected = 0
        self.early: dict[int, bytes] = {}

    def take(self, payload: bytes) -> list[bytes]:
        _, behind, epoch, number = struct.unpack_from(">BBQI", payload)
        if behind > number or epoch < self.epoch:
            return []
        base = number - behind
        if epoch > self.epoch:
            self.epoch, self.expected, self.early = epoch, base, {}
        self.early[number] = payload[14:]
        bodies = []
        while self.early:
            first = min(self.early)
            if first < self.expected:
                del self.early[first]
            elif first == self.expected or first < base:
                bodies.append(self.early.pop(first))
                self.expected = first + 1
            elif self.expected < base:
                self.expected = base
            else:
                break
        self.expected = max(self.expected, base)
        return bodies


def story(name: str, payloads: list[bytes]) -> dict[str, Any]:
    receiver = Receiver()
    steps: list[Step] = [
        {"payload": payload.hex(), "bodies": [body.hex() for body in receiver.take(payload)]}
        for payload in payloads
    ]
    return {"name": name, "steps": steps}


def numbered(numbers: list[int], **more: Any) -> list[bytes]:
    return [reliable(n, min(n, 255), f"m{n}".encode(), **more) for n in numbers]


def shuffled() -> list[bytes]:
    """Return 200 messages of which none is acknowledged, each up to three times, in any order."""
    chance = random.Random(SEED)
    numbers = [n for n in range(200) for _ in range(chance.randint(1, 3))]
    chance.shuffle(numbers)
    return numbered(numbers)


def vectors() -> dict[str, Any]:
    positions = [(0.0, 0.0, 0.0), (1.5, -2.25, 1000.0), (-0.1, 3.14159274, 1e-20)]
    events = [(0, ""), (1, "goal"), (255, "a tree fell: ☂"), (7, "x" * 100)]
    infinite = bytes.fromhex("7f800000") + bytes(8)
    nan = bytes(8) + bytes.fromhex("ffc00001")
    return {
        "about": ABOUT,
        "positions": [
            {"payload": position(*p).hex(), "position": list(struct.unpack(">fff", position(*p)))}
            for p in positions
        ]
        + [
            {"payload": payload.hex(), "drop": True}
            for payload in (b"", bytes(11), bytes(13), infinite, nan)
        ],
        "game_events": [
            {"payload": game_event(*event).hex(), "kind": event[0], "text": event[1]}
            for event in events
        ]
        + [{"payload": payload.hex(), "drop": True} for payload in (b"", b"\x01\xff", b"\x01\xc3")],
        "datagrams": [
            {
                "datagram": header(kind, 40 + kind, 1_800_000_000_000_000, payload).hex(),
                "type": kind,
                "payload": payload.hex(),
                "acknowledged": kind == 5,
            }
            for kind, payload in (
                (1, position(1.5, -2.25, 1000.0)),
                (2, bytes(range(60))),
                (3, game_event(1, "goal")),
                (4, b"state"),
                (5, reliable(0, 0, b"hello")),
            )
        ]
        # A cluster's and DCF's other types are unknown here.
        + [
            {"datagram": header(kind, 1, 1_800_000_000_000_000, b"x").hex(), "drop": True}
            for kind in (9, 10, 11, 12, 0x22, 0x23, 0x26)
        ],
        "readings": [
            {
                "payload": reading(*fields).hex(),
                "start": fields[0],
                "number": fields[1],
                "millionths": fields[2],
                "sensor": fields[3],
                "device": fields[4],
            }
            for fields in (
                (0, 1, 0, "a", "b"),
                (4_000_000_000, 77, -40_250_000, "rack-temperature", "rack 1"),
                (1, 2**32 - 1, 10**18, "soil", "☂" * 21),
            )
        ]
        + [
            {"payload": payload.hex(), "drop": True}
            for payload in (
                b"",
                reading(1, 1, 1, "a", "b")[:-1],
                reading(1, 1, 1, "a", "b") + b"x",
                reading(1, 1, 1, "a" * 65, "b"),
                reading(1, 1, 1, "a", "b")[:-1] + b"\xff",
                # Of a version that is not known yet.
                b"\x02" + reading(1, 1, 1, "a", "b")[1:],
            )
        ],
        "reliable": [
            story("in order", numbered([0, 1, 2])),
            story("out of order", numbered([2, 0, 1, 4, 3])),
            story("doubled", numbered([0, 0, 1, 0, 1, 2, 2])),
            story("any order, up to three times", shuffled()),
            story("a receiver that has just begun", [reliable(57, 0, b"a"), reliable(58, 1, b"b")]),
            story(
                "a receiver that has just begun, and hears a late one first",
                [reliable(59, 2, b"c"), reliable(57, 0, b"a"), reliable(58, 1, b"b")],
            ),
            story("what was acknowledged before", [reliable(5, 2, b"f"), reliable(9, 0, b"j")]),
            story("a new epoch", [*numbered([0, 2]), *numbered([0, 1], epoch=8), *numbered([1])]),
            story("more behind than there are", [reliable(1, 2, b"x"), reliable(0, 0, b"y")]),
            story("an empty body", [reliable(0, 0, b"")]),
        ],
    }


def content() -> str:
    """Return what is in the file."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(content(), encoding="utf-8")
