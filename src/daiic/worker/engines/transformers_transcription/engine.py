"""The engine of a model that writes down what is said."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncGenerator
from typing import Any

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_transcription.hearing import Hearing
from daiic.worker.engines.transformers_transcription.probe import CAPABILITIES
from daiic.worker.engines.transformers_transcription.transcription import Transcription
from daiic.worker.engines.transformers_transcription.wanted import wanted_of
from daiic.worker.media.recordings import decoded


class TranscriptionEngine:
    """An `Engine` of one model. Its tasks take turns, token by token."""

    library = "transformers"
    choice = "a Whisper, which is never quantised"
    model_kind = pb.TRANSCRIPTION
    capabilities = CAPABILITIES
    alive = True

    def __init__(self, weights: Weights, hearing: Hearing, tokenizer: Any) -> None:
        self.footprint = weights.footprint
        self.quantization = weights.quantization
        self.precision = weights.precision
        self.placement = weights.placement
        self.fallback = weights.fallback
        self._hearing: Hearing | None = hearing
        self._tokenizer = tokenizer
        self._thread = OneThread("tokens")
        # A file that takes for ever to decode must not keep others from being heard.
        self._decoding = OneThread("recordings")
        self._running = 0
        self._moved_at = 0.0

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        return time.monotonic() - self._moved_at if self._running else 0.0

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer a transcribe task in parts, a passage at a time."""
        if task.WhichOneof("work") != "transcribe":
            raise TaskError(
                pb.BAD_REQUEST,
                f"{task.model} writes down recordings only",
                "send a transcribe task, or choose another model",
            )
        hearing = self._hearing
        if hearing is None:
            raise TaskError(pb.SHUTTING_DOWN, f"{task.model} is being unloaded", "send it again")
        self._running += 1
        self._moved()
        is_wanted = True
        try:
            with translated():
                wanted = await asyncio.wrap_future(
                    self._thread.submit(lambda: wanted_of(task, hearing, self._tokenizer))
                )
                data = task.transcribe.audio.data
                recording = await asyncio.wrap_future(
                    self._decoding.submit(lambda: decoded(data, lambda: is_wanted))
                )
                transcription = Transcription(
                    hearing, self._tokenizer, self._thread, recording, wanted, self._moved
                )
                async with contextlib.aclosing(transcription.parts(task.resume)) as parts:
                    async for part in parts:
                        yield part
        finally:
            is_wanted = False
            self._running -= 1
            self._moved()

    def _moved(self) -> None:
        self._moved_at = time.monotonic()

    async def close(self) -> None:
        """Give the memory back; what runs ends with its step."""
        self._hearing = None
        self._thread.stop()
        self._decoding.stop()
        await asyncio.to_thread(gc.collect)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
