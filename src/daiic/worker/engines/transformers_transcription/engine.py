"""The engine of a model that writes down what is said."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.one_model_engine import OneModelEngine
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.engines.transformers_transcription.probe import CAPABILITIES
from daiic.worker.engines.transformers_transcription.transcription import Transcription
from daiic.worker.engines.transformers_transcription.wanted import wanted_of
from daiic.worker.media.recordings import decoded


class TranscriptionEngine(OneModelEngine[Hearing]):
    """An `Engine` of one model. Its tasks take turns, token by token."""

    def __init__(self, weights: Weights, hearing: Hearing, tokenizer: Any) -> None:
        super().__init__(
            weights,
            hearing,
            kind=pb.TRANSCRIPTION,
            work="transcribe",
            capabilities=CAPABILITIES,
            choice="a Whisper, which is never quantised",
        )
        self._tokenizer = tokenizer
        self._thread = OneThread("tokens")
        # A file that takes for ever to decode must not keep others from being heard.
        self._decoding = OneThread("recordings")

    async def _parts(self, runner: Hearing, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Yield parts, each a passage or more."""
        is_wanted = True
        try:
            wanted = await self._thread.do(lambda: wanted_of(task, runner, self._tokenizer))
            data = task.transcribe.audio.data
            recording = await self._decoding.do(lambda: decoded(data, lambda: is_wanted))
            transcription = Transcription(
                runner, self._tokenizer, self._thread, recording, wanted, self._moved
            )
            async with contextlib.aclosing(transcription.parts(task.resume)) as parts:
                async for part in parts:
                    yield part
        finally:
            is_wanted = False

    def _stop(self) -> None:
        self._thread.stop()
        self._decoding.stop()
