"""docs/transport.md says what the code does, wherever that can be read off."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from daiic.wire.counters import Counters
from daiic.wire.limits import Limits
from daiic.wire.messages import MessageType
from daiic.wire.outbox import BUSY_PAUSE, MESSAGE_SPAN
from daiic.wire.replay import WINDOW
from daiic.wire.sequence import REMEMBERED

DOCUMENT = (Path(__file__).parents[3] / "docs" / "transport.md").read_text("utf-8")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": 1, "": 1}


def section(title: str) -> str:
    """Return the part under the heading `title`, up to the next heading."""
    return re.split(r"^#+ ", DOCUMENT.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def test_every_message_type_is_in_the_table() -> None:
    table = re.findall(r"^\| `(0x\w\w)` \| (\w+) \|", section("Message types"), re.M)
    assert {name: int(value, 16) for value, name in table} == {t.name: t for t in MessageType}


def test_every_limit_has_its_default() -> None:
    table = re.findall(r"^\| `(\w+)` \| (\d+) ?(\w*) \|", section("Limits"), re.M)
    documented = {name: int(value) * UNITS[unit] for name, value, unit in table}
    assert documented == {field.name: field.default for field in fields(Limits)}


def test_every_reason_to_drop_is_explained() -> None:
    table = re.findall(r"^\| `(\w+)` \|", section("What is dropped"), re.M)
    assert set(table) == {f.name for f in fields(Counters) if f.name.startswith("dropped_")}


@pytest.mark.parametrize(
    "claim",
    [
        f"at least the latest {REMEMBERED} whole messages",
        f"more than {MESSAGE_SPAN - 1} messages",
        f"{WINDOW} or more behind the highest counter",
        f"begins it again after {BUSY_PAUSE} s",
        f"that has acknowledged nothing for {Limits().give_up:g} s",
    ],
)
def test_numbers_in_the_text_are_those_of_the_code(claim: str) -> None:
    assert claim in DOCUMENT
