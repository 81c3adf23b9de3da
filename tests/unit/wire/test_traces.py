"""The implementation does what every trace of tests/vectors/traces.json asks for."""

import json
from typing import Any

import pytest

from unit.wire.trace import Player
from vectors import generate_traces

FILE: dict[str, Any] = json.loads(generate_traces.PATH.read_text("utf-8"))
TRACES: list[dict[str, Any]] = FILE["traces"]


@pytest.mark.parametrize("trace", TRACES, ids=[trace["name"] for trace in TRACES])
def test_trace(trace: dict[str, Any]) -> None:
    Player(FILE, trace).play()


def test_the_file_is_what_the_specification_gives() -> None:
    assert generate_traces.PATH.read_text("utf-8") == generate_traces.text()
