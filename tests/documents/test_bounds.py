"""docs/operations.md has every bound of heads and workers, with its value."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from daiic.head.limits import HeadLimits
from daiic.wire.payload import MAX_FIELDS
from daiic.worker.limits import WorkerLimits

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
UNITS = {"": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20}
ROW = re.compile(r"^\| `(\w+)` \| (\d+) ?(\w*) \| [^|]+ \| [^|]+ \|$", re.M)


@pytest.mark.parametrize(
    "opening, limits",
    [("A head:", HeadLimits), ("A worker:", WorkerLimits)],
    ids=["head", "worker"],
)
def test_the_table_has_every_bound(opening: str, limits: type) -> None:
    table = DOCUMENT.split(f"\n{opening}\n\n")[1].split("\n\n")[0]
    documented = {name: int(value) * UNITS[unit] for name, value, unit in ROW.findall(table)}
    assert documented == {field.name: field.default for field in fields(limits)}


def test_the_number_of_fields_is_told() -> None:
    assert f"at most {MAX_FIELDS} fields" in DOCUMENT
