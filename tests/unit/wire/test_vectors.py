"""The implementation agrees with every vector of tests/vectors/wire.json, and the file with the
specification's generator."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from daiic.wire import daiic_pb2 as schema
from daiic.wire.counters import Counters
from daiic.wire.endpoint import Endpoint
from daiic.wire.frames import decode_sack, encode_chunk, encode_sack, ranges_of, split_batch
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, MessageType, encode
from daiic.wire.recovery import Flight, Outgoing, Recovery
from daiic.wire.replay import WINDOW, ReplayWindow
from daiic.wire.sealing import Sealer
from vectors import generate

VECTORS: dict[str, Any] = json.loads(
    Path(generate.__file__).with_name("wire.json").read_text("utf-8")
)
NOW = int(VECTORS["now"])
SENDER = ("192.0.2.1", 5000)

SCHEMA = {
    MessageType.HEARTBEAT: schema.Heartbeat,
    MessageType.TASK: schema.Task,
    MessageType.RESULT: schema.Result,
    MessageType.CANCEL: schema.Cancel,
    MessageType.ERROR: schema.Error,
}


READ: set[tuple[str, ...]] = set()
"""The groups that are read here, noted as the module is."""

SHARED = {
    ("about",),
    ("now",),
    ("sealing", "key"),
    ("sealing", "key_file"),
    ("sealing", "session"),
    ("sealing", "session_key"),
    ("replay", "window"),
}
"""What is no group: words about the file, and values that its cases share."""


def group(*path: str) -> Any:
    """Return the list at `path` in the file."""
    READ.add(path)
    value: Any = VECTORS
    for key in path:
        value = value[key]
    return value


def cases(*path: str) -> Any:
    """Parametrize over the list at `path` in the file."""
    value = group(*path)
    names = [str(case.get("name", number)) for number, case in enumerate(value)]
    return pytest.mark.parametrize("case", value, ids=names)


def endpoint(key: ClusterKey | None = None) -> Endpoint:
    return Endpoint(Limits(), lambda: NOW, key)


def receive(receiver: Endpoint, case: dict[str, Any]) -> None:
    """Give it the case's datagram; check that it is dropped just as the case says."""
    before = receiver.counters.as_dict()
    receiver.datagram_received(bytes.fromhex(case["datagram"]), SENDER, 0.0)
    after = receiver.counters.as_dict()
    changed = {
        name for name in after if name.startswith("dropped_") and after[name] != before[name]
    }
    assert changed == ({case["drop"]} if "drop" in case else set())


ANSWERS = group("answers")


def test_every_group_is_read() -> None:
    found = {
        (name, *key)
        for name, value in VECTORS.items()
        for key in (zip(value) if isinstance(value, dict) else [()])
    }
    assert found == READ | SHARED


def test_the_file_is_what_the_specification_gives() -> None:
    assert generate.PATH.read_text("utf-8") == generate.text()


@cases("headers")
def test_headers(case: dict[str, Any]) -> None:
    datagram = bytes.fromhex(case["datagram"])
    if "drop" in case:
        receive(endpoint(), case)
        return
    fields = (case["type"], case["sequence"], int(case["timestamp"]))
    payload = bytes.fromhex(case["payload"])
    assert encode(*fields, payload) == datagram
    assert HEADER.unpack_from(datagram) == (*fields, len(payload))


@cases("messages")
def test_messages(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    receiver = endpoint()
    receive(receiver, case)
    (event,) = receiver.take_events()
    assert (event.message_type, event.sequence, event.timestamp, event.payload) == (
        case["type"],
        case["sequence"],
        int(case["timestamp"]),
        payload,
    )
    form = SCHEMA[case["type"]]
    assert json_format.ParseDict(case["json"], form()) == form.FromString(payload)


def test_answers() -> None:
    receiver = endpoint()
    for case in ANSWERS:
        receive(receiver, {**case, "datagram": case["received"]})
        sent = [datagram.hex() for datagram, to in receiver.datagrams_to_send(0.0) if to == SENDER]
        assert sent == case["sent"], case["name"]


@cases("sacks")
def test_sacks(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    if "drop" in case:
        assert decode_sack(payload) is None
        receiver = endpoint()
        receiver.datagram_received(encode(MessageType.TASK, 1, NOW), SENDER, 0.0)
        receive(receiver, case)
        return
    ranges = [(start, end) for start, end in case["ranges"]]
    assert encode_sack(ranges, NOW).hex() == case["datagram"]
    assert decode_sack(payload) == ranges
    recovery = Recovery(1200, 1 << 20)
    for sequence in case["acknowledges"] + case["leaves"]:
        recovery.sent(Flight(Outgoing(sequence, 2, b"", 0), 0, sequence), 17, 1.0)
    done = recovery.acknowledged(decode_sack(payload) or [], 2.0)
    assert {flight.sequence for flight in done} == set(case["acknowledges"])
    assert {flight.sequence for flight in recovery.clear()} == set(case["leaves"])
    assert {s for start, end in ranges_of(case["acknowledges"]) for s in range(start, end + 1)} == (
        set(case["acknowledges"])
    )


@cases("chunks", "cut")
def test_chunks(case: dict[str, Any]) -> None:
    whole = bytes.fromhex(case["message"])
    datagrams = [bytes.fromhex(datagram) for datagram in case["datagrams"]]
    assert datagrams == [
        encode_chunk(case["first"], i, case["type"], memoryview(whole), case["size"], NOW)
        for i in range(len(datagrams))
    ]
    receiver = endpoint()
    for datagram in reversed(datagrams):
        receiver.datagram_received(datagram, SENDER, 0.0)
    (event,) = receiver.take_events()
    assert (event.message_type, event.sequence, event.payload) == (
        case["type"],
        case["first"],
        whole,
    )


@cases("chunks", "malformed")
def test_malformed_chunks(case: dict[str, Any]) -> None:
    receiver = endpoint()
    receive(receiver, case)
    assert not receiver.take_events()
    assert receiver.buffered_bytes == 0


@cases("batches")
def test_batches(case: dict[str, Any]) -> None:
    datagram = bytes.fromhex(case["datagram"])
    messages = split_batch(datagram[17:])
    if "drop" in case:
        assert messages is None
        receive(endpoint(), case)
        return
    assert messages is not None
    assert [encode(*fields) for fields in messages] == [bytes.fromhex(m) for m in case["messages"]]


@cases("busy")
def test_busy(case: dict[str, Any]) -> None:
    receiver = Endpoint(Limits(memory=2600), lambda: NOW)
    other = encode_chunk(7, 0, MessageType.RESULT, bytes(300), 256, NOW)
    receiver.datagram_received(other, ("192.0.2.2", 5000), 0.0)
    list(receiver.datagrams_to_send(0.0))
    receiver.datagram_received(bytes.fromhex(case["received"]), SENDER, 0.0)
    assert [datagram.hex() for datagram, _ in receiver.datagrams_to_send(0.0)] == case["sent"]


SEALING = VECTORS["sealing"]
SEALED, DROPPED, ACCEPTED = (group("sealing", name) for name in ("sealed", "dropped", "accepted"))
KEY = ClusterKey(bytes.fromhex(SEALING["key"]))


def test_key_file(tmp_path: Path) -> None:
    KEY.save(tmp_path / "key")
    assert (tmp_path / "key").read_text("ascii") == SEALING["key_file"]
    assert ClusterKey.load(tmp_path / "key") == KEY


def test_sealing_counts_up() -> None:
    sealer = Sealer(KEY, Limits(), Counters(), bytes.fromhex(SEALING["session"]))
    for case in SEALED[:3]:
        assert sealer.seal(bytes.fromhex(case["plain"])).hex() == case["sealed"]


def test_opening() -> None:
    receiver = Sealer(KEY, Limits(), Counters())
    for case in SEALED:
        plain, sealed = bytes.fromhex(case["plain"]), bytes.fromhex(case["sealed"])
        _, _, timestamp, _ = HEADER.unpack_from(sealed)
        assert receiver.open(sealed, timestamp, NOW) == plain[17:]


def test_what_the_cluster_key_keeps_out() -> None:
    receiver = endpoint(KEY)
    for case in SEALED:
        receiver.datagram_received(bytes.fromhex(case["sealed"]), SENDER, 0.0)
    receiver.take_events()
    for case in DROPPED:
        receive(receiver, case)
    assert not receiver.take_events()
    for case in ACCEPTED:
        receive(receiver, case)
    assert receiver.counters.frames_received[MessageType.PING] == 1 + len(ACCEPTED)


@cases("replay", "cases")
def test_replay_window(case: dict[str, Any]) -> None:
    window = ReplayWindow()
    assert [window.accept(int(counter)) for counter in case["counters"]] == case["accepted"]


def test_replay_window_size() -> None:
    assert VECTORS["replay"]["window"] == WINDOW


@cases("json", "tasks")
def test_json_tasks(case: dict[str, Any]) -> None:
    task = schema.Task.FromString(bytes.fromhex(case["protobuf"]))
    assert json_format.Parse(case["json"], schema.Task()) == task


@cases("json", "results")
def test_json_results(case: dict[str, Any]) -> None:
    result = schema.Result.FromString(bytes.fromhex(case["protobuf"]))
    assert json_format.MessageToDict(result) == case["json"]
