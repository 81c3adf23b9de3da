"""The engine of a model that makes speech."""

import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.torch.one_model_engine import OneModelEngine
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_speech.letters import Letters
from daiic.worker.engines.transformers_speech.probe import CAPABILITIES
from daiic.worker.engines.transformers_speech.sentences import sentences
from daiic.worker.engines.transformers_speech.speaker import Speaker
from daiic.worker.engines.transformers_speech.voices import speaker_of
from daiic.worker.engines.transformers_text.noise import key
from daiic.worker.limits import LIMITS

Answer = TypeVar("Answer")

MAX_SPOKEN = LIMITS.spoken
SLOWEST, FASTEST = 0.25, 4.0
PAUSE = 0.25
"""Seconds of silence after a sentence that another one follows."""


class SpeechEngine(OneModelEngine[Speaker]):
    """An `Engine` of one model. Its tasks take turns, sentence by sentence."""

    def __init__(
        self, weights: Weights, speaker: Speaker, letters: Letters, voices: Mapping[str, int]
    ) -> None:
        super().__init__(
            weights,
            speaker,
            kind=pb.SPEECH,
            work="speak",
            capabilities=CAPABILITIES,
            choice="a VITS, which is never quantised",
        )
        self.voices: Sequence[str] = list(voices)
        self._numbers = voices
        self._letters = letters
        self._thread = OneThread("sentences")

    async def _parts(self, runner: Speaker, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Yield parts, each a sentence; numbers of sentences are its tokens."""
        voice = speaker_of(self._numbers, task.speak.voice, task.model)
        speed = _speed(task.speak)
        said = await self._do(lambda: self._tokens(task.speak.input, task.model))
        first = max(task.resume.tokens, default=-1) + 1
        for number in range(first, len(said)):
            if said[number]:
                seed = key(task.speak.seed, number)
                samples = await self._do(partial(runner.say, said[number], voice, speed, seed))
                if any(said[number + 1 :]):
                    samples += bytes(2 * int(PAUSE / speed * runner.rate))
                speech = pb.Speech(samples=samples, rate=runner.rate)
                yield pb.Result(tokens=[number], speech=speech)
        read = sum(map(len, said))
        yield pb.Result(
            final=True,
            finish_reason=pb.FINISH_REASON_STOP,
            usage=pb.Usage(prompt_tokens=read, completion_tokens=len(said)),
        )

    def _tokens(self, text: str, model: str) -> list[list[int]]:
        """Return the tokens of each sentence of `text`; none for what cannot be said."""
        if len(text) > MAX_SPOKEN:
            raise bad(f"`input` has {len(text)} characters", f"send at most {MAX_SPOKEN} at once")
        said = [self._letters.tokens_of(sentence) for sentence in sentences(text)]
        if not any(said):
            raise bad(
                f"`input` has nothing that {model} can say" if text.strip() else "`input` is empty",
                "send words in the letters of the model's language, numbers written out",
            )
        return said

    async def _do(self, work: Callable[[], Answer]) -> Answer:
        """Have `work` done in the thread that computes."""
        done = await self._thread.do(work)
        self._moved()
        return done

    def _stop(self) -> None:
        self._thread.stop()


def _speed(task: pb.SpeakTask) -> float:
    speed = task.speed if task.HasField("speed") else 1.0
    if not (math.isfinite(speed) and SLOWEST <= speed <= FASTEST):
        raise bad(f"`speed` is {speed:g}", f"send {SLOWEST:g} to {FASTEST:g}")
    return speed
