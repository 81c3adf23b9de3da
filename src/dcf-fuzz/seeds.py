"""Writes a target's first inputs: each datagram of the wire vectors, as a step of that target.

Usage: seeds.py TARGET WIRE_JSON FOLDER
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST = 1200
NO_KEYS = 0
RAW_STEP = 0
STRANGER = 2
BETTER_TIMES = 0
NO_DATAGRAMS = {
    "about": "words about the file",
    "now": "the time at which the cases are",
    "replay": "counters alone",
    "json": "payloads alone",
}


def datagrams(vectors: object, name: str = "") -> Iterator[bytes]:
    """Yield every value that is named as datagrams are."""
    if isinstance(vectors, list):
        for value in vectors:
            yield from datagrams(value, name)
    elif isinstance(vectors, dict):
        for key, value in vectors.items():
            yield from datagrams(value, key)
    elif name in ("datagram", "datagrams", "received", "sealed") and isinstance(vectors, str):
        yield bytes.fromhex(vectors)


def bridge(datagram: bytes) -> Iterator[bytes]:
    """Yield a life of `dcf-shim/tests/hostile`: the first client or the first head sends it."""
    datagram = datagram[:LARGEST]
    for party in (0, 12):
        step = bytes([RAW_STEP, party]) + len(datagram).to_bytes(2, "big") + datagram
        yield bytes([NO_KEYS, BETTER_TIMES]) + step


def abi(datagram: bytes) -> Iterator[bytes]:
    """Yield a life of `dcf/tests/hostile`: a stranger sends it to one endpoint or to the other."""
    datagram = datagram[:255]
    for end in (0, 0x80):
        yield bytes([NO_KEYS, end | RAW_STEP, STRANGER, len(datagram)]) + datagram + b"\xff"


def paths(datagram: bytes) -> Iterator[bytes]:
    """Yield a life of `dcf/tests/hostile_paths`: no datagram is one, but its bytes are choices."""
    yield datagram[:LARGEST]


def main() -> None:
    lives = {"bridge": bridge, "abi": abi, "paths": paths}[sys.argv[1]]
    wire, folder = Path(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    groups = {name: set(datagrams(group)) for name, group in json.loads(wire.read_text()).items()}
    unread = {name for name, found in groups.items() if not found} ^ NO_DATAGRAMS.keys()
    if unread:
        sys.exit(f"fuzz: groups of {wire} that seeds.py does not read right: {sorted(unread)}")
    for number, datagram in enumerate(sorted(set().union(*groups.values()))):
        for variant, life in enumerate(lives(datagram)):
            (folder / f"{number:03}-{variant}").write_bytes(life)


if __name__ == "__main__":
    main()
