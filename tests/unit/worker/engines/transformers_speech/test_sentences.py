"""A text is divided into what is said at once, alike on every worker."""

import pytest

from daiic.worker.engines.transformers_speech.sentences import MOST, sentences


@pytest.mark.parametrize(
    "text, divided",
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 m.\nNext line", ["It is 3.5 m.", "Next line"]),
        ('"Go." He went.', ['"Go.', "He went."]),
        ("一。二！三", ["一。", "二！", "三"]),
        (" \n\t ", []),
        ("", []),
    ],
)
def test_sentences_end_where_they_end(text: str, divided: list[str]) -> None:
    assert sentences(text) == divided


def test_a_long_sentence_is_divided_at_pauses_or_between_words() -> None:
    clause = "word " * 30 + "end,"
    for text in (" ".join([clause] * 20), "word " * 1000, "x" * 5000, "長い、" * 900):
        pieces = sentences(text)
        assert len(pieces) > 1 and all(0 < len(piece) <= MOST for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(piece.endswith(",") for piece in sentences(" ".join([clause] * 20)))
