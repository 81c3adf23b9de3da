"""The schema agrees with every vector of tests/vectors/sync.json, and the file with its script."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError

from daiic.wire import daiic_pb2 as pb
from vectors import generate_sync

VECTORS = json.loads(generate_sync.PATH.read_text("utf-8"))


def test_the_file_is_what_its_script_writes() -> None:
    assert generate_sync.PATH.read_text("utf-8") == generate_sync.content()


def test_every_group_of_the_file_is_read() -> None:
    assert set(VECTORS) == {"about", "messages", "readers"}


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["name"])
def test_messages_mean_what_the_file_says(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    if "json" in case:
        assert MessageToDict(pb.Sync.FromString(payload)) == case["json"]
        assert ParseDict(case["json"], pb.Sync()).SerializeToString(deterministic=True) == payload
    elif case["name"] == "a field that is cut short":
        with pytest.raises(DecodeError):
            pb.Sync.FromString(payload)
    else:
        assert pb.Sync.FromString(payload)


def test_steps_are_messages() -> None:
    for reader in VECTORS["readers"]:
        for step in reader["steps"]:
            told = pb.Sync.FromString(bytes.fromhex(step["payload"]))
            assert told.base <= told.version
