"""An answer made once more adds only what was not delivered, and says so if it is another one."""

from collections.abc import AsyncGenerator

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.repetition import after

WORDS = ["yes", " it", " is", " so", "."]
WHOLE = "".join(WORDS)


async def answer(words: list[str] = WORDS, begin: int = 0) -> AsyncGenerator[pb.Result, None]:
    for number, word in enumerate(words):
        yield pb.Result(text=word, tokens=[begin + number])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)


async def told(delivered: pb.Resume, again: AsyncGenerator[pb.Result, None]) -> list[pb.Result]:
    return [part async for part in after(delivered, again)]


async def test_it_goes_on_after_every_token() -> None:
    for number in range(len(WORDS) + 1):
        delivered = pb.Resume(tokens=range(number), text="".join(WORDS[:number]))
        parts = await told(delivered, answer())
        assert delivered.text + "".join(part.text for part in parts) == WHOLE
        tokens = [*delivered.tokens, *(token for part in parts for token in part.tokens)]
        assert tokens == list(range(len(WORDS)))
        assert parts[-1].final
        assert not any(part.started_over for part in parts)


async def test_text_that_was_kept_back_comes() -> None:
    parts = await told(pb.Resume(tokens=[0, 1], text="ye"), answer())
    assert "".join(part.text for part in parts) == "s it is so."


async def test_another_answer_comes_whole_and_says_that_it_started_over() -> None:
    parts = await told(pb.Resume(tokens=[7, 8], text="no way"), answer())
    assert parts[0].started_over
    assert not any(part.started_over for part in parts[1:])
    assert "".join(part.text for part in parts) == WHOLE


async def test_an_answer_that_ends_earlier_starts_over() -> None:
    delivered = pb.Resume(tokens=range(5), text=WHOLE)
    parts = await told(delivered, answer(WORDS[:2]))
    assert [part.started_over for part in parts] == [True]
    assert parts[0].text == "yes it"
    assert parts[0].final
