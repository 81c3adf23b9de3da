"""What was used is kept: over a restart, bounded, and whatever becomes of the file."""

import datetime
import resource
import sqlite3
from pathlib import Path

import pytest

from daiic.gateway.usage import store as store_module
from daiic.gateway.usage.amounts import Amounts
from daiic.gateway.usage.database import FILE, Question, Used, read
from daiic.gateway.usage.store import UsageStore

TODAY = datetime.datetime.now(datetime.UTC).date()
ALWAYS = Question("0000-01-01", "9999-01-01")


def row(account: str = "k1", model: str = "m", days_ago: int = 0, **amounts: float) -> Used:
    day = (TODAY - datetime.timedelta(days_ago)).isoformat()
    return Used(day, account, f"name of {account}", model, Amounts(**({"requests": 1} | amounts)))


def opened(folder: Path | str, days: int = 400) -> UsageStore:
    store = UsageStore(str(folder), days)
    store.open()
    return store


def test_rows_of_one_key_model_and_day_add_up_over_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add([row(prompt_tokens=5), row(account="k2")])
    store.close()
    again = opened(tmp_path)
    again.add([row(prompt_tokens=7, audio_seconds=0.5)])
    assert again.used(ALWAYS) == [
        row(requests=2, prompt_tokens=12, audio_seconds=0.5),
        row(account="k2"),
    ]


def test_questions_are_of_days_keys_and_models_and_tell_apart_what_they_ask_for() -> None:
    store = opened("")
    store.add(
        [
            row("k1", "m", 0, images=1),
            row("k1", "n", 0, images=2),
            row("k1", "m", 1, images=4),
            row("k2", "m", 0, images=8),
        ]
    )

    def images(**about: object) -> list[int]:
        fields = {"first": "0", "end": "9"} | about
        return [used.amounts.images for used in store.used(Question(**fields))]

    assert images(by=()) == [15]
    assert images(by=("account",)) == [7, 8]
    assert images(by=("day", "model")) == [4, 9, 2]
    assert images(by=("account",), models=("n",)) == [2]
    assert images(by=(), accounts=("k2", "nobody")) == [8]
    assert images(by=(), first=TODAY.isoformat()) == [11]
    assert images(by=(), accounts=("nobody",)) == []
    assert images(most=2) == [4, 1]


def test_old_days_are_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path, days=3)
    store.add([row(days_ago=ago) for ago in range(5)])
    assert [used.day for used in store.used(ALWAYS)] == [row(days_ago=ago).day for ago in (2, 1, 0)]


def test_more_rows_than_are_kept_cost_the_oldest_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "USAGE_ROWS", 10)
    store = opened("")
    store.add([row(f"k{number}", days_ago=number % 3) for number in range(12)])
    assert {used.day for used in store.used(ALWAYS)} == {row().day, row(days_ago=1).day}


@pytest.mark.parametrize(
    "content", [b"junk" * 5000, b"SQLite format 3\x00" + b"\xff" * 8000, b"{}"]
)
def test_file_that_is_no_database_is_put_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    store = opened(tmp_path)
    store.add([row()])
    assert store.used(ALWAYS) == [row()]
    assert (tmp_path / "usage.damaged").read_bytes() == content


def test_database_of_something_else_is_put_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE used (surprise TEXT)")
    other.close()
    store = opened(tmp_path)
    store.add([row()])
    assert store.used(ALWAYS) == [row()]
    assert (tmp_path / "usage.damaged").exists()


def test_file_damaged_while_it_is_used_is_put_aside_and_counting_goes_on(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add([row(f"k{number}") for number in range(2000)])
    store.close()
    size = (tmp_path / FILE).stat().st_size
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))
    damaged = opened(tmp_path)
    with pytest.raises(sqlite3.DatabaseError) as failed:
        damaged.used(ALWAYS)
    damaged.recover(failed.value)
    damaged.add([row()])
    assert damaged.used(ALWAYS) == [row()]


def test_folder_that_cannot_be_written_leaves_counting_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = opened(tmp_path / "file" / "folder")
    store.add([row()])
    assert store.used(ALWAYS) == [row()]


def test_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add([row()])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))
    try:
        with pytest.raises(sqlite3.OperationalError) as failed:
            store.add([row(f"k{number}") for number in range(10_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    store.recover(failed.value)
    assert store.used(ALWAYS) == [row()]


def test_database_can_be_read_while_a_gateway_writes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add([row()])
    assert read(tmp_path / FILE, ALWAYS) == [row()]
    store.add([row()])
    assert read(tmp_path / FILE, ALWAYS) == [row(requests=2)]
    with pytest.raises(sqlite3.Error):
        read(tmp_path / "nowhere", ALWAYS)
    assert not (tmp_path / "nowhere").exists()
