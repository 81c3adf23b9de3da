"""Writes the fuzzer's first inputs: each datagram of the wire vectors as a step of `tests/hostile`.

Usage: seeds.py WIRE_JSON FOLDER
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST = 1200
RAW_STEP = 0


def datagrams(vectors: object) -> Iterator[bytes]:
    """Yield every value that is named `datagram` or `received`."""
    if isinstance(vectors, list):
        for value in vectors:
            yield from datagrams(value)
    elif isinstance(vectors, dict):
        for name, value in vectors.items():
            if name in ("datagram", "received") and isinstance(value, str):
                yield bytes.fromhex(value)
            else:
                yield from datagrams(value)


def main() -> None:
    wire, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    seen = sorted(set(datagrams(json.loads(wire.read_text()))))
    for number, datagram in enumerate(seen):
        size = min(len(datagram), LARGEST).to_bytes(2, "big")
        for party, setup in ((0, 0), (12, 0)):  # the first client, the first head; no keys
            step = bytes([RAW_STEP, party]) + size + datagram[:LARGEST]
            (folder / f"{number:03}-{party}").write_bytes(bytes([setup]) + step)


if __name__ == "__main__":
    main()
