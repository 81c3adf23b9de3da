"""The heads of this project, which the suites of heads run against, in one place.

`DAIIC_HEAD` names the command of another one, which then takes their place.
"""

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from support.processes import built

DAIIC_HEAD = "daiic-head"
HYDRAMESH = "hydramesh"


@dataclass(frozen=True)
class Head:
    """What starts a head; flags follow the command."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def names() -> list[str]:
    """Return the names of the heads to test."""
    given = os.environ.get("DAIIC_HEAD")
    return [Path(shlex.split(given)[0]).name] if given else [DAIIC_HEAD, HYDRAMESH]


def find(name: str) -> Head:
    """Return the head that `names` named, built if need be.

    Raises:
        built.CannotBuildError: if this machine lacks what that takes.
    """
    if given := os.environ.get("DAIIC_HEAD"):
        return Head(name, tuple(shlex.split(given)))
    return hydramesh() if name == HYDRAMESH else Head(name, (name,))


@cache
def hydramesh(profile: str = "debug") -> Head:
    """Build HydraMesh; libdcf is that of cargo's `profile`.

    Raises:
        built.CannotBuildError: if this machine lacks what that takes.
    """
    try:
        library = built.libdcf(profile)
    except built.CannotBuildError as error:
        raise built.CannotBuildError(f"libdcf cannot be built: {error}") from error
    built.lisp("build", library)
    environment = {"HYDRAMESH_LIBDCF": library}
    return Head(HYDRAMESH, (str(built.HYDRAMESH / "build/hydramesh"),), environment)


_current: list[Head] = []


def current() -> Head:
    """Return the head that a test is of: the one in `using`, or else the first to test."""
    return _current[-1] if _current else find(names()[0])


@contextlib.contextmanager
def using(head: Head) -> Iterator[Head]:
    """Make `head` the current one."""
    _current.append(head)
    try:
        yield head
    finally:
        _current.remove(head)
