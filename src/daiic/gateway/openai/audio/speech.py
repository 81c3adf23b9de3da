"""POST /v1/audio/speech: a sound file, sent sentence by sentence as it is made."""

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.openai.audio.sound_stream import SoundStream
from daiic.gateway.openai.chat_format import DONE
from daiic.gateway.openai.schema.audio import SpeechDelta, SpeechDone, SpeechRequest, SpeechUsage
from daiic.gateway.text.answering import started_over
from daiic.wire import daiic_pb2 as pb

if TYPE_CHECKING:
    from daiic.gateway.openai.audio.sound_file import SoundFile

# fmt: off
VOICES = frozenset({
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse",
})
# fmt: on
"""OpenAI's, one of which its clients always name: a model without it speaks with its first."""


async def speak(gateway: Gateway, request: SpeechRequest, context: RequestContext) -> None:
    """Answer POST /v1/audio/speech."""
    task = gateway.task(request.model, stream=True, client=context.client)
    task.speak.input = request.input
    task.speak.voice = _voice(gateway, task.model, request.voice)
    task.speak.speed = request.speed
    if request.seed is not None:
        task.speak.seed = request.seed % 2**64
    events = request.stream_format == "sse"
    context.response.start_stream(None if events else SoundStream(request.response_format))
    file: SoundFile | None = None
    begun = False
    usage = pb.Usage()
    async with contextlib.aclosing(gateway.cluster.run(task)) as parts:
        async for part in parts:
            if part.started_over:
                if begun:
                    raise started_over()
                file = None
            context.activity.output(part.worker_id, len(part.tokens), streamed=True)
            usage.MergeFrom(part.usage)
            if part.speech.samples:
                if file is None:
                    file = await asyncio.to_thread(
                        _opened, request.response_format, part.speech.rate
                    )
                # Encoding a sentence takes too long for the event loop.
                data = await asyncio.to_thread(file.add, part.speech.samples)
                if data:
                    begun = True
                    await context.response.write(_delta(data) if events else data)
    if file is None:
        raise ApiError(502, "the worker sent no sound: try again", type=SERVER, code="no_sound")
    gateway.activity.count_tokens(task.model, usage.prompt_tokens, usage.completion_tokens)
    data = await asyncio.to_thread(file.end)
    if events:
        data = (_delta(data) if data else b"") + _done(usage)
    await context.response.write(data, last=True)


def _opened(kind: str, rate: int) -> "SoundFile":
    # Imported here: what encodes is slow to import, and many gateways never speak.
    from daiic.gateway.openai.audio.sound_file import SoundFile

    return SoundFile(kind, rate)


def _voice(gateway: Gateway, model: str, asked: str) -> str:
    """Return the voice that the worker is asked for; an empty one is the model's first."""
    known = any(asked in copy.voices for copy in gateway.view.copies(model))
    return asked if known or asked not in VOICES else ""


def _delta(data: bytes) -> bytes:
    event = SpeechDelta(base64.b64encode(data).decode("ascii"))
    return server_sent_event(msgspec.json.encode(event), event.type)


def _done(usage: pb.Usage) -> bytes:
    read, written = usage.prompt_tokens, usage.completion_tokens
    event = SpeechDone(SpeechUsage(read, written, read + written))
    return server_sent_event(msgspec.json.encode(event), event.type) + DONE
