"""The tests written in Lisp."""

import re

from support.processes import built


def test_lisp_tests_pass() -> None:
    with built.or_skip("hydramesh"):
        said = built.lisp("test", built.libdcf())
    # FiveAM ends well without any test too.
    checks = re.search(r"Did (\d+) checks", said)
    assert checks and int(checks[1]) > 0, said[-2000:]
