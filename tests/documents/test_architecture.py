"""docs/architecture.md: the table that says where new things go names places that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text("utf-8")
TABLE = DOCUMENT.partition("## Where new things go\n")[2].partition("\n## ")[0]
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith(("| to add", "| ---"))
]


def test_the_table_has_a_place_for_what_is_added_most_often() -> None:
    things = " ".join(row[0] for row in ROWS)
    for thing in (
        *("endpoint", "engine", "kind of task", "head", "unit", "NixOS option", "message type"),
        *("setting", "command", "test of real processes", "test without sockets"),
    ):
        assert thing in things, thing


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_place_exists(row: tuple[str, ...]) -> None:
    paths = re.findall(r"`([\w.-]+/[\w./-]*|README\.md|Makefile|flake\.nix)`", " ".join(row[1:]))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
