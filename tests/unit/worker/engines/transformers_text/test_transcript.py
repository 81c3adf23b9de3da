"""A transcript's pieces are whole characters, and joined they are the text."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.transcript import Transcript
from support.models.tiny_models import END, tokenizer


@cache
def rust() -> Tokenizer:
    found = tokenizer().backend_tokenizer
    assert isinstance(found, Tokenizer)
    return found


def transcript(stop: tuple[str, ...] = (), max_tokens: int = 10_000) -> Transcript:
    end = rust().token_to_id(END)
    return Transcript(rust(), stop=stop, end_tokens={end}, max_tokens=max_tokens)


def encode(text: str) -> list[int]:
    return rust().encode(text, add_special_tokens=False).ids


def said(tokens: list[int], **limits: object) -> tuple[str, Transcript]:
    taker = transcript(**limits)  # type: ignore[arg-type]
    pieces = []
    for token in tokens:
        taker.push(token)
        pieces.append(taker.take()[0])
    return "".join(pieces), taker


TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_characters="\ufffd"), st.sampled_from("é日🙂👩‍"))
)


@given(TEXTS)
def test_no_piece_breaks_a_character(text: str) -> None:
    taker = transcript()
    for token in encode(text):
        taker.push(token)
        piece, _ = taker.take()
        assert "\ufffd" not in piece
        piece.encode("utf-8")
    assert said(encode(text))[0] == text


@given(TEXTS, st.data())
def test_a_resumed_transcript_goes_on_where_the_first_stopped(
    text: str, data: st.DataObject
) -> None:
    tokens = encode(text)
    seam = data.draw(st.integers(0, len(tokens)))
    stop = ("🙂x", "zz", " a")
    whole, ended = said(tokens, stop=stop)
    first, _ = said(tokens[:seam], stop=stop)
    second = transcript(stop=stop)
    second.resume(pb.Resume(tokens=tokens[:seam], text=first))
    for token in tokens[seam:]:
        second.push(token)
    rest, new = second.take()
    assert first + rest == whole
    assert second.count == ended.count
    assert second.finish_reason == ended.finish_reason
    assert new == tokens[seam : ended.count]


@given(TEXTS, st.integers(1, 5))
def test_it_does_not_matter_how_many_tokens_come_at_once(text: str, size: int) -> None:
    tokens = encode(text)
    taker = transcript(stop=("a",))
    pieces = []
    for start in range(0, len(tokens), size):
        for token in tokens[start : start + size]:
            taker.push(token)
        pieces.append(taker.take()[0])
    assert "".join(pieces) == said(tokens, stop=("a",))[0]


def test_a_stop_string_that_spans_tokens_is_cut_out() -> None:
    tokens = encode("one two") + encode("#") + encode("#") + encode("# three")
    text, taker = said(tokens, stop=("###",))
    assert text == "one two"
    assert taker.finish_reason == pb.FINISH_REASON_STOP
    assert taker.count < len(tokens)


def test_the_end_token_ends_the_text_and_counts() -> None:
    tokens = [*encode("done"), rust().token_to_id(END), *encode("more")]
    text, taker = said(tokens)
    assert text == "done"
    assert taker.finish_reason == pb.FINISH_REASON_STOP
    assert taker.count == len(encode("done")) + 1


def test_what_may_become_a_stop_string_comes_out_at_the_end() -> None:
    text, taker = said([*encode("one ##"), rust().token_to_id(END)], stop=("###",))
    assert text == "one ##"
    text, taker = said(encode("one ##"), stop=("###",), max_tokens=len(encode("one ##")))
    assert text == "one ##"
    assert taker.finish_reason == pb.FINISH_REASON_LENGTH


def test_what_was_delivered_may_be_all_there_is() -> None:
    tokens = encode("five")
    taker = transcript(max_tokens=len(tokens))
    taker.resume(pb.Resume(tokens=tokens, text="five"))
    assert taker.finish_reason == pb.FINISH_REASON_LENGTH
    assert taker.take() == ("", [])
