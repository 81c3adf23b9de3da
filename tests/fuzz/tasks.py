"""Gives tasks of any content to loaded models; each is answered, or refused with a reason.

By hand: `python tests/fuzz/driver.py tasks --coverage 900` (see there). An input is a serialized
task, of which only what it asks for counts. The models are small ones that DAIIC comes with.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import structlog
import torch
from google.protobuf.message import DecodeError

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.work import needs_of
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_reranking import load as reranking
from daiic.worker.engines.transformers_speech import load as speech
from daiic.worker.engines.transformers_transcription import load as transcription
from daiic.worker.memory.budget import MemoryBudget

MODELS = Path(__file__).parents[2] / "local-models"
RECORDING = Path(__file__).parents[1] / "support" / "recordings" / "one-two-three.ogg"
SECONDS = 60
"""An answer that takes longer than this went badly."""

_SOUND = pb.Media(data=RECORDING.read_bytes(), type="audio/ogg")
_TASKS = (
    pb.Task(rerank=pb.RerankTask(query="red", documents=["a red apple", "", "blue"])),
    pb.Task(speak=pb.SpeakTask(input="One. Two.", voice="high", speed=1.5, seed=3)),
    pb.Task(speak=pb.SpeakTask(input="One. Two."), resume=pb.Resume(tokens=[0], index=1)),
    pb.Task(
        transcribe=pb.TranscribeTask(
            audio=_SOUND, language="en", prompt="one", temperature=0.5, words=True, seed=3
        )
    ),
    pb.Task(transcribe=pb.TranscribeTask(audio=_SOUND), resume=pb.Resume(tokens=[1, 2], index=1)),
)
SAMPLES = [task.SerializeToString() for task in _TASKS]
WORDS = [
    *(b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff" * 9 + b"\x01"),
    *(b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\0\0\0\0"),  # floats of every kind
    *(b"OggS", b"RIFF", b"fLaC", b"ID3", b"en", b"de", b"high", b"nobody", b". ", b"one "),
    *("日本".encode(), "\U0001f600".encode(), "\u202e".encode(), b"\x1b[2J"),
]


def target() -> Callable[[bytes], None]:
    """Return what has one task answered by models that live as long as the run."""
    loop = asyncio.new_event_loop()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    torch.set_num_threads(1)

    async def loaded(load: Callable[..., object], name: str) -> object:
        options = LoadOptions(backend.choose("cpu"))
        return await load(MODELS / name, options, MemoryBudget(0, 1 << 30), lambda done: None)

    engines = {
        "rerank": loop.run_until_complete(loaded(reranking.load, "tiny-reranker")),
        "speak": loop.run_until_complete(loaded(speech.load, "daiic-tiny-voice")),
        "transcribe": loop.run_until_complete(loaded(transcription.load, "daiic-tiny-hear")),
    }

    async def answer(data: bytes) -> None:
        try:
            task = pb.Task.FromString(data)
        except DecodeError:
            return
        needs_of(task)
        engine = engines.get(task.WhichOneof("work") or "")
        if engine is None:
            return
        parts: list[pb.Result] = []
        try:
            async with asyncio.timeout(SECONDS), contextlib.aclosing(engine.run(task)) as run:
                async for part in run:
                    parts.append(part)
        except TaskError as error:
            assert error.name not in ("INTERNAL", "ERROR_CODE_UNSPECIFIED"), error
            assert str(error)
        else:
            assert parts[-1].final and not any(part.final for part in parts[:-1])

    return lambda data: loop.run_until_complete(answer(data))
