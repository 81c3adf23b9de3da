"""The tests written in Lisp."""

import re

import pytest

from support.processes import built


def test_lisp_tests_pass() -> None:
    try:
        said = built.lisp("test", built.libdcf())
    except built.CannotBuildError as error:
        pytest.skip(f"hydramesh is not tested: {error}")
    # FiveAM ends well without any test too.
    checks = re.search(r"Did (\d+) checks", said)
    assert checks and int(checks[1]) > 0, said[-2000:]
