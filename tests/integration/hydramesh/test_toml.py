"""HydraMesh reads its settings' TOML as Python's tomllib does."""

import contextlib
import datetime
import math
import struct
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.processes import built
from support.processes.lisp_toml import LispToml

BOTH = settings(max_examples=1000)


@pytest.fixture(scope="module")
def lisp() -> Iterator[LispToml]:
    with built.or_skip("hydramesh"):
        process = LispToml()
    with contextlib.closing(process):
        yield process


def typed(value: Any) -> Any:
    """Return `value` as the process in Lisp tells it; dates and times only as such."""
    if isinstance(value, dict):
        return ["dict", {key: typed(item) for key, item in value.items()}]
    if isinstance(value, list):
        return ["array", [typed(item) for item in value]]
    if isinstance(value, float):
        bits = struct.unpack(">q", struct.pack(">d", abs(value) if math.isnan(value) else value))
        return ["float", str(bits[0])]
    if isinstance(value, (datetime.date, datetime.time)):
        return "moment"
    return [type(value).__name__, str(value)]


def without_moments(value: Any) -> Any:
    kind, content = value
    if kind == "dict":
        return [kind, {key: without_moments(item) for key, item in content.items()}]
    if kind == "array":
        return [kind, [without_moments(item) for item in content]]
    return kind if kind == "moment" else value


def meanings(lisp: LispToml, text: str) -> tuple[Any, Any]:
    """Return what both say that `text` means; `None` if it is no TOML."""
    said: list[Any] = []
    for loads in (lambda: typed(tomllib.loads(text)), lambda: without_moments(lisp.loads(text))):
        try:
            said.append(loads())
        except ValueError:
            said.append(None)
    return said[0], said[1]


keys = st.sampled_from(
    ["a", "b", "c", "a.b", "a . c", "b.a.c", '"a"', "'b'", '"\\u0061"', "a-1", ""]
)
digits = st.text("0123456789_", min_size=1, max_size=25)
numbers = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "+", "-", "0x", "0o", "0b"]),
        digits,
        st.sampled_from(["", ".5", ".", "e5", "E-3", ".25e+30", "e-320", "e400", "e_1", ".1_0"]),
    ),
)
floats = st.floats().map(lambda value: f"{value!r}")
texts = st.text(max_size=20).map(lambda text: text.replace("\r", ""))
quoted = st.one_of(
    st.builds("{0}{1}{0}".format, st.sampled_from(['"', "'", '"""', "'''"]), texts),
    st.lists(
        st.sampled_from([*'ab \t"', "\n", "\\", '\\"', "\\n", "\\u00e9", "\\U0001f600", "\\ud800"])
    ).map(lambda parts: f'"""{"".join(parts)}"""'),
)
moments = st.one_of(
    st.dates().map(str),
    st.datetimes().map(str),
    st.times().map(str),
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9]([Tt ]?[0-2][0-9]:[0-5][0-9](:[0-6][0-9])?"
        r"(\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?)?",
        fullmatch=True,
    ),
)
plain = st.one_of(
    st.sampled_from(["true", "false", "inf", "-inf", "nan", "+nan", "True", ""]),
    numbers,
    floats,
    quoted,
    moments,
)
spaces = st.sampled_from(["", " ", "\t", "  "])
gaps = st.sampled_from(["", " ", "\n", " # note\n", "\r\n", "\n\n\t"])
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(st.tuples(gaps, inner, gaps), max_size=3).map(
            lambda items: f"[{','.join(map(''.join, items))}]"
        ),
        st.builds("[{},{}]".format, inner, gaps),
        st.lists(st.tuples(spaces, keys, st.just("="), spaces, inner), max_size=3).map(
            lambda items: f"{{{', '.join(map(''.join, items))}}}"
        ),
    ),
    max_leaves=5,
)
pairs = st.builds("{} = {}".format, keys, values)
statements = st.one_of(
    pairs,
    pairs,
    st.builds("[{}]".format, keys),
    st.builds("[[{}]]".format, keys),
    st.builds("# {}".format, st.text("ab\t é\x00", max_size=5)),
    st.just(""),
)
documents = st.tuples(st.lists(statements, max_size=8), st.sampled_from(["\n", "\r\n", " \n"])).map(
    lambda parts: parts[1].join(parts[0])
)


@given(text=values)
@example(text="1979-05-27 07:32")
@example(text="2.2250738585072011e-308")
@example(text="1.7976931348623159e308")
@example(text="4.9e-324")
@example(text="9007199254740993.0")
@BOTH
def test_values_mean_the_same(lisp, text):
    python, here = meanings(lisp, f"a = {text}")
    assert here == python


@given(text=documents)
@example(text="a.b = 1\n[a]")
@example(text="[a.b]\n[a]\nb.c = 1")
@example(text="[a.b.c]\n[a]\nb.d = 1")
@example(text="[[a]]\n[a.b]\n[[a]]\n[a.b]")
@example(text="a = []\n[[a]]")
@example(text="a = [{}]\n[a.b]")
@example(text="a = {b.c = 1, b.d = 2}\n[a.b.e]")
@BOTH
def test_documents_mean_the_same(lisp, text):
    python, here = meanings(lisp, text)
    assert here == python


@given(text=st.text(max_size=40))
@BOTH
def test_noise_is_as_little_toml_here_as_there(lisp, text):
    python, here = meanings(lisp, text)
    assert here == python
