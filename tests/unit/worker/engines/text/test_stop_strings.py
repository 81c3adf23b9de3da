"""A text is cut at the stop string that is complete first, however it comes divided."""

from hypothesis import given
from hypothesis import strategies as st

from daiic.worker.engines.text.stop_strings import StopStrings

LETTERS = "ab🙂"


def passed(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    cutter = StopStrings(stops)
    text = "".join([cutter.push(piece) for piece in pieces])
    return text + cutter.finish(), cutter.found


def expected(text: str, stops: list[str]) -> str:
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(len(stop) for stop in complete)]
    return text


@given(
    st.lists(st.text(LETTERS, max_size=4), max_size=12),
    st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=3),
)
def test_the_division_into_pieces_does_not_matter(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    whole = expected(text, stops)
    assert passed(pieces, stops)[0] == whole
    assert passed(list(text), stops)[0] == whole
    assert passed([text], stops)[0] == whole


@given(
    st.lists(st.text(LETTERS, max_size=4), max_size=12),
    st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_nothing_is_passed_that_a_stop_string_takes_back(
    pieces: list[str], stops: list[str]
) -> None:
    cutter = StopStrings(stops)
    sent = ""
    whole = expected("".join(pieces), stops)
    for piece in pieces:
        sent += cutter.push(piece)
        assert whole.startswith(sent)


def test_what_can_no_stop_string_become_is_passed_at_once() -> None:
    cutter = StopStrings(["###"])
    assert cutter.push("one #") == "one "
    assert cutter.push("two") == "#two"
    assert not cutter.found


def test_what_follows_a_stop_string_is_dropped() -> None:
    assert passed(["go", "ne END", " never"], ["END"]) == ("gone ", True)
