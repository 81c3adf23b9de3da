"""What tests build of Rust and of Lisp, and why a machine that lacks something cannot do that."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

WORKSPACE = Path(__file__).parents[3] / "src"
HYDRAMESH = WORKSPACE / "hydramesh"
NO_SBCL = "there is no SBCL (apt install sbcl; src/hydramesh/README.md)"


class CannotBuildError(Exception):
    """This machine lacks something; the message says what."""


@contextlib.contextmanager
def or_skip(tested: str) -> Iterator[None]:
    """Skip the test, in which `tested` is, if what is built within this needs more than is here."""
    try:
        yield
    except CannotBuildError as error:
        pytest.skip(f"{tested} is not tested: {error}")


def rust(*arguments: str) -> None:
    """Run cargo, with Debian's crates or crates.io's.

    Raises:
        CannotBuildError: if there is no cargo, or no crates.
        AssertionError: if the sources do not build.
    """
    if shutil.which("cargo") is None:
        raise CannotBuildError("there is no cargo (apt install cargo, or rustup)")
    built = subprocess.run(
        [WORKSPACE / "cargo.sh", *arguments, "--quiet"], capture_output=True, text=True
    )
    if built.returncode and "no matching package" in built.stderr + built.stdout:
        raise CannotBuildError("its crates are missing; src/dcf-shim/README.md")
    if built.returncode and "index.crates.io" in built.stderr:
        raise CannotBuildError(
            "crates.io cannot be reached and Debian's crates are not installed; "
            "src/dcf-shim/README.md names the packages"
        )
    assert built.returncode == 0, built.stderr


@cache
def libdcf(profile: str = "debug") -> str:
    """Return the path of libdcf, which is built if HYDRAMESH_LIBDCF names none.

    Raises:
        CannotBuildError: as `rust` does.
    """
    if given := os.environ.get("HYDRAMESH_LIBDCF"):
        return given
    rust("build", "--package", "dcf", *(["--release"] if profile == "release" else []))
    return str(WORKSPACE / "target" / profile / "libdcf.so")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process of the tests compiles Lisp, and let none begin within this."""
    folder = HYDRAMESH / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def lisp(command: str, library: str, *arguments: str) -> str:
    """Run HydraMesh's build.sh with `arguments`, where libdcf is `library`; return what it said.

    Raises:
        CannotBuildError: if there is no SBCL, or a library is missing.
        AssertionError: if the sources do not build, or the tests fail.
    """
    if shutil.which("sbcl") is None:
        raise CannotBuildError(NO_SBCL)
    with _alone():
        done = subprocess.run(
            [HYDRAMESH / "build.sh", command, *arguments],
            env={**os.environ, "HYDRAMESH_LIBDCF": library},
            capture_output=True,
            text=True,
            errors="replace",
        )
    said = done.stdout + done.stderr
    if done.returncode and (missing := re.search(r'[Cc]omponent "([^"/]+)" not found', said)):
        raise CannotBuildError(
            f"Lisp's {missing[1]} is missing; src/hydramesh/README.md names the packages"
        )
    assert done.returncode == 0, said[-8000:]
    return said
