"""Writes a target's first inputs: each datagram of the wire vectors, as a step of that target.

Usage: seeds.py TARGET WIRE_JSON FOLDER
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST = 1200
RAW_STEP = 0
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


def main() -> None:
    wire, folder = Path(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    groups = {name: set(datagrams(group)) for name, group in json.loads(wire.read_text()).items()}
    unread = {name for name, found in groups.items() if not found} ^ NO_DATAGRAMS.keys()
    if unread:
        sys.exit(f"fuzz: groups of {wire} that seeds.py does not read right: {sorted(unread)}")
    for number, datagram in enumerate(sorted(set().union(*groups.values()))):
        size = min(len(datagram), LARGEST).to_bytes(2, "big")
        for party, setup in ((0, 0), (12, 0)):  # the first client, the first head; no keys
            step = bytes([RAW_STEP, party]) + size + datagram[:LARGEST]
            (folder / f"{number:03}-{party}").write_bytes(bytes([setup, BETTER_TIMES]) + step)


if __name__ == "__main__":
    main()
