"""docs/security.md: every claim names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text("utf-8")
RUST = (path for crate in ("dcf", "dcf-shim") for path in (ROOT / "src" / crate).rglob("*.rs"))
PROGRAMS = (*(ROOT / "tests").rglob("*.py"), *RUST)


def claims() -> list[list[str]]:
    """Return the cells of every line below a heading "cannot | shown by"."""
    tables = re.findall(
        r"^\| cannot \| shown by \|\n\| --- \| --- \|\n((?:\|.*\n)+)", DOCUMENT, re.M
    )
    return [re.split(r" \| ", line.strip("| ")) for table in tables for line in table.splitlines()]


def test_every_claim_names_what_shows_it() -> None:
    assert len(claims()) > 20
    assert all(len(cells) == 2 and "`" in cells[1] for cells in claims())


def test_every_test_that_is_named_exists() -> None:
    there = {
        name
        for program in PROGRAMS
        for name in re.findall(r"\b(?:def|fn) (test_\w+)", program.read_text("utf-8"))
    }
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) > 40
    assert named <= there, f"docs/security.md names tests that do not exist: {named - there}"


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:src|iso|tests|modules)/[\w./-]+)`", DOCUMENT)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
