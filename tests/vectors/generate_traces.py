"""Writes traces.json: exchanges as one endpoint sees them, and what it must do.

Like `generate`, it follows the specification with nothing of daiic.wire. `traces/format.py`
describes the format, in words that the file begins with. After a change of the protocol, rewrite
the file with `PYTHONPATH=tests python -m vectors.generate_traces`.

`tests/unit/wire/test_traces.py` plays the traces against the Python implementation.
"""

import json
from pathlib import Path
from typing import Any

from vectors.generate import KEY, NOW
from vectors.traces import (
    base_types,
    busy,
    chunks,
    extensions,
    heartbeats,
    reliability,
    sealing,
    unproven,
)
from vectors.traces.format import ABOUT, TYPES

PATH = Path(__file__).with_name("traces.json")

PARTS = (base_types, heartbeats, reliability, extensions, chunks, busy, sealing, unproven)


def file() -> dict[str, Any]:
    """Return the whole file as a value."""
    return {
        "about": ABOUT.splitlines(),
        "now": str(NOW),
        "key": KEY.hex(),
        "types": TYPES,
        "traces": [trace for part in PARTS for trace in part.traces()],
    }


def text() -> str:
    """Return the file's text."""
    return json.dumps(file(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
