"""Results of benches are kept in a file, bounded, and whatever is in that file."""

from pathlib import Path

import msgspec
import pytest

from daiic.bench.figures import Measured, Round
from daiic.gateway.bench.store import BenchStore
from daiic.gateway.limits import KEPT_MEASUREMENTS

ROUND = Round(1, 140, 192, 50.0, 51.0, 0.1, 0.2, 1 << 30)
SAMPLE = Measured(
    at=1,
    model="m",
    tokens=64,
    worker="w",
    name="north",
    version="0.1.0",
    backend="cpu",
    device="AMD EPYC",
    engine="llama.cpp",
    quantization="Q8_0",
    placement="ram",
    choice="",
    rounds=[ROUND],
    notes=[],
)


async def test_they_are_there_after_a_restart(tmp_path: Path) -> None:
    store = BenchStore(str(tmp_path / "new" / "folder"))
    await store.add(SAMPLE)
    again = BenchStore(str(tmp_path / "new" / "folder"))
    again.load()
    assert again.measured == [SAMPLE]
    assert again.changes != BenchStore("").changes


async def test_the_newest_of_the_same_is_kept_and_what_differs_stays(tmp_path: Path) -> None:
    store = BenchStore(str(tmp_path))
    other = msgspec.structs.replace(SAMPLE, quantization="none")
    newer = msgspec.structs.replace(SAMPLE, at=9)
    for measured in (SAMPLE, other, newer):
        await store.add(measured)
    assert store.measured == [other, newer]


async def test_the_oldest_is_dropped_when_there_are_too_many() -> None:
    store = BenchStore("")
    for number in range(KEPT_MEASUREMENTS + 2):
        await store.add(msgspec.structs.replace(SAMPLE, worker=str(number)))
    assert [store.measured[0].worker, len(store.measured)] == ["2", KEPT_MEASUREMENTS]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b'{"measured": [{}]}', b'{"measured": ' + b"[" * 100_000, b"[]"],
)
async def test_a_damaged_file_is_put_aside(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "benches.json"
    file.write_bytes(content)
    store = BenchStore(str(tmp_path))
    store.load()
    assert store.measured == []
    await store.add(SAMPLE)
    assert (tmp_path / "benches.damaged").read_bytes() == content
    again = BenchStore(str(tmp_path))
    again.load()
    assert again.measured == [SAMPLE]


async def test_a_folder_that_cannot_be_written_costs_only_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = BenchStore(str(tmp_path / "file"))
    store.load()
    await store.add(SAMPLE)
    assert store.measured == [SAMPLE]
