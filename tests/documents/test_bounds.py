"""docs/operations.md has every bound of heads and workers, with its value."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from daiic.head.limits import HeadLimits
from daiic.wire.payload import MAX_FIELDS
from daiic.worker.limits import WorkerLimits

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text("utf-8")
UNITS = {"": 1, "B": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20}
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


def test_hydramesh_has_the_bounds_of_the_other_head() -> None:
    source = (ROOT / "src/hydramesh/head/limits.lisp").read_text("utf-8")
    units = {"": 1, "kib": 1 << 10, "mib": 1 << 20}
    bounds = {
        name.replace("-", "_"): 1 << int(shift) if shift else int(number) * units[unit]
        for name, shift, number, unit in re.findall(
            r"^  \(([a-z-]+) (?:\(ash 1 (\d+)\)|(?:\(\* )?(\d+)(?: \+(.ib)\+\))?)\)", source, re.M
        )
    }
    table = DOCUMENT.split("\nHydraMesh has these, and more:\n\n")[1].split("\n\n")[0]
    own = {name: int(value) * UNITS[unit] for name, value, unit in ROW.findall(table)}
    assert own and bounds == own | {field.name: field.default for field in fields(HeadLimits)}


@pytest.mark.parametrize(
    "folder, opening, units",
    [
        ("storage", "what is oldest leaves first:", UNITS),
        ("domain", "whatever the\nprogram does:", UNITS),
        ("game", "Games have these:", {"": 1}),
        ("audio", "for each audio stream:", UNITS | {"ms": 1}),
        ("iot", "Sensors have these:", {"": 1}),
        ("sync", "It has these bounds:", UNITS),
    ],
    ids=["storage", "programs", "games", "sound", "sensors", "sync"],
)
def test_the_table_has_every_bound_of_hydramesh(
    folder: str, opening: str, units: dict[str, int]
) -> None:
    source = (ROOT / "src/hydramesh" / folder / "limits.lisp").read_text("utf-8")
    constants = re.findall(
        r"^\(defconstant \+([a-z-]+)\+ (?:\(ash (\d+) (\d+)\)|(\d+)) ", source, re.M
    )
    table = DOCUMENT.split(f"{opening}\n\n")[1].split("\n\n")[0]
    documented = {name: int(value) * units[unit] for name, value, unit in ROW.findall(table)}
    assert len(constants) == source.count("(defconstant") > 5
    assert documented == {
        name.replace("-", "_"): int(number or 0) + (int(base or 0) << int(shift or 0))
        for name, base, shift, number in constants
    }


def test_the_number_of_fields_is_told() -> None:
    assert f"at most {MAX_FIELDS} fields" in DOCUMENT
