"""Which characters of foreign text are shown, and how much of it."""

import sys
import unicodedata

import pytest

from daiic.shown import MESSAGE, NAME, shown, shown_text, word
from daiic.wire import daiic_pb2 as pb
from fuzz.shown_names import obeyed

EVERYTHING = [chr(code) for code in range(sys.maxunicode + 1)]


def test_no_character_that_is_obeyed_gets_into_a_line() -> None:
    line = shown("".join(EVERYTHING), len(EVERYTHING))
    assert not obeyed(line, also="")
    # The last plane has nothing but marks without a glyph.
    seen = [c for c in EVERYTHING[:0xE0000] if unicodedata.category(c)[0] in "LNPSM"]
    assert not [character for character in seen if shown(character) != character]


def test_a_text_keeps_its_lines_tabs_and_what_scripts_and_emoji_need() -> None:
    kept = "a\tb\nc\u200d\u200c\u200e\u200f\xad"
    assert shown_text(kept) == kept
    assert shown_text("one\r\ntwo\x1b[A\u202e") == "one\ntwo\\x1b[A\\u202e"
    assert not obeyed(shown_text("".join(EVERYTHING)), also="\n\t")


@pytest.mark.parametrize(("show", "most"), [(shown, NAME), (lambda t: shown_text(t, 9), 9)])
def test_what_is_too_long_is_cut_and_says_so(show, most: int) -> None:
    assert show("x" * most) == "x" * most
    assert show("x" * (most + 1)) == "x" * (most - 1) + "…"
    assert len(shown("\x1b" * 10 * MESSAGE, MESSAGE)) <= 4 * MESSAGE


def test_values_of_newer_members_are_unknown() -> None:
    assert word(pb.ModelState, pb.LOADED) == "loaded"
    for value in (77, -1, 2**31 - 1):
        assert word(pb.ModelState, value) == "unknown"
