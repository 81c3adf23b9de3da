"""The tables of docs/models.md, kept equal to what tests observed.

A test module makes one `ModelsTable`, its tests say what they saw cell by cell, and its last test
calls `check`. What did not run is not compared, so a selection of tests can be run alone.
"""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
REWRITE = "DAIIC_WRITE_MODELS"
UNKNOWN = "?"
"""In the document's place of a cell that no test has filled yet; `check` fails on it."""


class ModelsTable:
    """The table called `title`: a row for each of `families`, cells in `columns`."""

    def __init__(self, title: str, columns: Sequence[str], families: Sequence[str]) -> None:
        self._title = title
        self._columns = tuple(columns)
        self._observed: dict[str, dict[str, str]] = {family: {} for family in families}

    def observe(self, family: str, column: str, cell: str) -> None:
        """Say what the table has to hold for `family` in `column`; Markdown, on one line."""
        if column not in self._columns or not cell or re.search(r"[|\n]", cell):
            raise ValueError(f"{cell!r} cannot stand in the column {column!r} of {self._title}")
        self._observed[family][column] = cell

    def check(self) -> None:
        """Compare what was observed with the document.

        With DAIIC_WRITE_MODELS=1 rewrite its table, and keep the cells of tests that did not run.
        """
        text = DOCUMENT.read_text("utf-8")
        begin, end = f"<!-- {self._title}: begin -->\n", f"<!-- {self._title}: end -->\n"
        if text.count(begin) != 1 or text.count(end) != 1:
            pytest.fail(f"{DOCUMENT.name} must have {begin!r} and {end!r}, once each")
        before, _, rest = text.partition(begin)
        written, _, after = rest.partition(end)
        table = self._table(self._rows_of(written))
        if os.environ.get(REWRITE) == "1":
            DOCUMENT.write_text(before + begin + table + end + after, "utf-8")
            return
        if written != table:
            lines = difflib.unified_diff(
                written.splitlines(), table.splitlines(), "written", "observed", n=0, lineterm=""
            )
            pytest.fail(
                f"docs/{DOCUMENT.name} says of {self._title} what was not observed. If the change "
                f"is right, run these tests with {REWRITE}=1 and commit the document.\n"
                + "\n".join(lines)
            )
        if f"| {UNKNOWN} |" in table:
            pytest.fail(f"{self._title}: cells were never observed; run all tests with {REWRITE}=1")

    def _table(self, written: dict[str, dict[str, str]]) -> str:
        """The table with what was observed, and elsewhere what is `written`."""
        lines = [_line(("Family", *self._columns)), _line(("---",) * (len(self._columns) + 1))]
        for family, observed in self._observed.items():
            cells = written.get(family, {}) | observed
            lines.append(_line((family, *(cells.get(name, UNKNOWN) for name in self._columns))))
        return "".join(lines)

    def _rows_of(self, written: str) -> dict[str, dict[str, str]]:
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in written.splitlines()
        ] or [[], []]
        return {family: dict(zip(head[1:], cells, strict=False)) for family, *cells in rows}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
