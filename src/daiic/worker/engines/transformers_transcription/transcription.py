"""One recording, from window to window, as parts of an answer.

A window is tried at several temperatures until one gives something good, as OpenAI's Whisper does.
What it says is passed on a passage at a time: a passage with whose end all so far is good is not
taken back; when what follows turns out not to be good, it is heard again in a window of its own.

Each window depends on its place, the task and nothing else, so another run can go on anywhere: it
tells the place from the tokens before, and does a window that was begun once more.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.text.checks import check_resumed
from daiic.worker.engines.transformers_text.noise import key
from daiic.worker.engines.transformers_transcription.attempt import Attempt, compression
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.engines.transformers_transcription.passages import (
    Passage,
    closed,
    kept,
    passages,
)
from daiic.worker.engines.transformers_transcription.wanted import Wanted
from daiic.worker.engines.transformers_transcription.word_times import word_times
from daiic.worker.engines.transformers_transcription.written import step, written
from daiic.worker.media.recordings import RATE, Recording

Answer = TypeVar("Answer")

log = structlog.get_logger()


class Transcription:
    """Writes down one recording; `moved` is called after each step."""

    def __init__(
        self,
        hearing: Hearing,
        tokenizer: Any,
        thread: OneThread,
        recording: Recording,
        wanted: Wanted,
        moved: Callable[[], None],
    ) -> None:
        self._hearing = hearing
        self._vocabulary = hearing.vocabulary
        self._tokenizer = tokenizer.backend_tokenizer
        self._whole_tokenizer = tokenizer
        self._thread = thread
        self._recording = recording
        self._wanted = wanted
        self._moved = moved
        self._language = wanted.language
        self._has_text = False
        self._to_skip = 0

    async def parts(self, resume: pb.Resume) -> AsyncGenerator[pb.Result, None]:
        """Yield what follows `resume`, the final part last.

        Raises:
            TaskError: BAD_REQUEST if `resume` cannot be of this model.
        """
        vocabulary, samples = self._vocabulary, len(self._recording.samples)
        check_resumed(resume.tokens, vocabulary.first_time + vocabulary.times + 1)
        if not self._language:
            first = await self._do(lambda: self._hearing.hear(self._part(0)))
            self._language = await self._do(lambda: self._hearing.language(first))
        yield pb.Result(language=self._language, seconds=self._recording.seconds)

        before = written(resume.tokens, vocabulary, self._hearing.window, samples)
        self._to_skip = len(resume.text)
        for place, tokens in before.windows:
            for passage in self._passages(tokens, place):
                self._new_text(self._text_of(passage.text))
        place, known = before.place, before.part
        count = len(resume.tokens)
        while place < samples:
            window: list[int] = []
            async with contextlib.aclosing(self._window(place)) as heard:
                async for part, tokens in heard:
                    if (
                        known[: len(tokens)] != tokens[: len(known)]
                    ):  # another machine rounds otherwise
                        log.warning("a window that was begun is heard otherwise now", place=place)
                        part, tokens = self._from_there(known)
                        self._to_skip = 0
                        window, known = known, []
                        window += tokens
                    else:
                        window += tokens
                        tokens, known = tokens[len(known) :], known[len(tokens) :]
                    part.text = self._new_text("".join(one.text for one in part.segments))
                    if tokens:
                        count += len(tokens)
                        part.tokens.extend(tokens)
                        yield part
                    if window[-1] == vocabulary.end:
                        break
            place += step(window[:-1], vocabulary, min(self._hearing.window, samples - place))
        yield pb.Result(
            final=True,
            finish_reason=pb.FINISH_REASON_STOP,
            usage=pb.Usage(prompt_tokens=len(self._wanted.before), completion_tokens=count),
        )

    async def _window(self, place: int) -> AsyncGenerator[tuple[pb.Result, list[int]], None]:
        """Yield what is said in the window at `place`: parts with segments, and their tokens.

        The last one ends with the token that ends a text.
        """
        vocabulary, temperatures = self._vocabulary, self._wanted.temperatures
        states = await self._do(lambda: self._hearing.hear(self._part(place)))
        opening = [
            *self._wanted.before,
            *vocabulary.opening(self._language, translate=self._wanted.translate),
        ]
        seed = key(self._wanted.seed, place)
        for number, temperature in enumerate(temperatures):
            attempt = Attempt(
                self._hearing, states, opening, temperature, key(seed, number), self._text_of
            )
            is_last = number + 1 == len(temperatures)
            told = 0
            while not attempt.ended:
                await self._do(attempt.step)
                count = closed(attempt.tokens, vocabulary)
                if count > told and (is_last or attempt.is_good):
                    tokens = attempt.tokens[told:count]
                    told = count
                    yield await self._said(tokens, place, attempt, states), tokens
            if attempt.is_silent and not told:
                yield pb.Result(), [vocabulary.end]
                return
            if is_last or attempt.is_good:
                tokens = kept(attempt.tokens, vocabulary)[told:]
                yield await self._said(tokens, place, attempt, states), [*tokens, vocabulary.end]
                return
            if told:
                yield self._from_there(attempt.tokens[:told])
                return

    def _from_there(self, tokens: Sequence[int]) -> tuple[pb.Result, list[int]]:
        """Return what ends a window after the last whole passage in its `tokens`."""
        vocabulary = self._vocabulary
        count = closed(tokens, vocabulary) or len(tokens)
        last = tokens[count - 1] if count > 1 else vocabulary.first_time
        if not vocabulary.is_time(last):
            last = vocabulary.first_time
        return pb.Result(), [last, last, vocabulary.end]

    async def _said(
        self, tokens: Sequence[int], place: int, attempt: Attempt, states: torch.Tensor
    ) -> pb.Result:
        """Return a part with a segment for each passage in `tokens`, of the window at `place`."""
        part = pb.Result()
        begin = place / RATE
        for passage in self._passages(tokens, place):
            text = self._text_of(passage.text)
            segment = part.segments.add(
                start=begin + passage.start,
                end=begin + passage.end,
                text=text,
                mean_logprob=attempt.mean_logprob,
                no_speech=attempt.no_speech,
                compression=compression(text),
                temperature=attempt.temperature,
                tokens=passage.tokens,
            )
            if self._wanted.words:
                for word in await self._do(partial(self._words, passage, states)):
                    segment.words.add(
                        text=word.text, start=begin + word.start, end=begin + word.end
                    )
        return part

    def _words(self, passage: Passage, states: torch.Tensor) -> list[pb.Word]:
        return word_times(
            self._hearing,
            self._whole_tokenizer,
            states,
            passage,
            language=self._language,
            translate=self._wanted.translate,
        )

    def _passages(self, tokens: Sequence[int], place: int) -> list[Passage]:
        seconds = len(self._part(place)) / RATE
        said = passages(tokens, self._vocabulary, seconds) if tokens else []
        return [one for one in said if self._text_of(one.text).strip()]

    def _part(self, place: int) -> Any:
        return self._recording.part(place, self._hearing.window)

    def _text_of(self, tokens: Sequence[int]) -> str:
        text = [token for token in tokens if token < self._vocabulary.end]
        return str(self._tokenizer.decode(text, skip_special_tokens=True))

    def _new_text(self, text: str) -> str:
        """Return what of `text`, which follows, was not passed on; the first has no space."""
        if not self._has_text:
            text = text.lstrip()
            self._has_text = bool(text)
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:]

    async def _do(self, work: Callable[[], Answer]) -> Answer:
        """Have `work` done in the thread that computes."""
        done = await self._thread.do(work)
        self._moved()
        return done
