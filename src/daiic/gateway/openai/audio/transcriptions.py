"""POST /v1/audio/transcriptions and translations."""

import contextlib
import math
from collections.abc import Sequence

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.openai.audio.subtitles import srt, vtt
from daiic.gateway.openai.chat_format import DONE
from daiic.gateway.openai.schema.audio import (
    Duration,
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptionRequest,
    TranscriptSegment,
    TranscriptWord,
    TranslationRequest,
    VerboseTranscription,
)
from daiic.gateway.text.answering import started_over
from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb

TYPES = {"text": b"text/plain", "srt": b"application/x-subrip", "vtt": b"text/vtt"}


async def transcribe(
    gateway: Gateway, request: TranscriptionRequest, context: RequestContext
) -> None:
    """Answer POST /v1/audio/transcriptions."""
    task = _task(gateway, request, context)
    task.transcribe.language = request.language
    task.transcribe.words = "word" in request.timestamp_granularities
    stream = bool(request.stream)
    whole = await _run(gateway, task, context, stream=stream)
    if stream:
        done = TranscriptDone(whole.text, _duration(whole))
        data = server_sent_event(msgspec.json.encode(done), done.type)
        await context.response.write(data + DONE, last=True)
        return
    await _send(whole, request, context, request.timestamp_granularities or ["segment"])


async def translate(gateway: Gateway, request: TranslationRequest, context: RequestContext) -> None:
    """Answer POST /v1/audio/translations."""
    task = _task(gateway, request, context)
    task.transcribe.translate = True
    whole = await _run(gateway, task, context, stream=False)
    await _send(whole, request, context, ["segment"])


def _task(gateway: Gateway, request: TranslationRequest, context: RequestContext) -> pb.Task:
    # In parts, whatever the client wants: another worker goes on where the first was lost.
    task = gateway.task(request.model, stream=True, client=context.client)
    task.transcribe.audio.type = request.file.type[:100]
    task.transcribe.audio.data = request.file.take()
    task.transcribe.prompt = request.prompt
    if request.temperature is not None:
        task.transcribe.temperature = request.temperature
    if request.seed is not None:
        task.transcribe.seed = request.seed % 2**64
    return task


async def _run(
    gateway: Gateway, task: pb.Task, context: RequestContext, *, stream: bool
) -> pb.Result:
    """Return all of the answer to `task`; send what there is of its text if it is a `stream`."""
    if stream:
        context.response.start_stream()
    heard: list[pb.Result] = []
    begun = False
    async with contextlib.aclosing(gateway.cluster.run(task)) as parts:
        async for part in parts:
            if part.started_over:
                if begun:
                    raise started_over()
                heard.clear()
            heard.append(part)
            context.activity.output(part.worker_id, len(part.tokens), streamed=stream)
            if stream and part.text:
                begun = True
                delta = TranscriptDelta(part.text)
                event = server_sent_event(msgspec.json.encode(delta), delta.type)
                await context.response.write(event)
    whole = joined(heard)
    gateway.activity.count_tokens(
        task.model, whole.usage.prompt_tokens, whole.usage.completion_tokens
    )
    return whole


async def _send(
    whole: pb.Result, request: TranslationRequest, context: RequestContext, times: Sequence[str]
) -> None:
    if request.response_format == "json":
        await context.response.send_json(Transcription(whole.text, _duration(whole)))
    elif request.response_format == "verbose_json":
        translated = not isinstance(request, TranscriptionRequest)
        await context.response.send_json(_verbose(whole, times, translated=translated))
    else:
        text = {"srt": srt, "vtt": vtt}.get(request.response_format, lambda _: f"{whole.text}\n")
        kind = TYPES[request.response_format] + b"; charset=utf-8"
        await context.response.send(text(whole.segments).encode(), media_type=kind)


def _verbose(whole: pb.Result, times: Sequence[str], *, translated: bool) -> VerboseTranscription:
    segments = [
        TranscriptSegment(
            id=number,
            seek=round(segment.start * 100),
            start=round(segment.start, 3),
            end=round(segment.end, 3),
            text=segment.text,
            tokens=list(segment.tokens),
            temperature=round(segment.temperature, 3),
            avg_logprob=segment.mean_logprob,
            compression_ratio=segment.compression,
            no_speech_prob=segment.no_speech,
        )
        for number, segment in enumerate(whole.segments)
    ]
    words = [
        TranscriptWord(word.text, round(word.start, 3), round(word.end, 3))
        for segment in whole.segments
        for word in segment.words
    ]
    return VerboseTranscription(
        task="translate" if translated else "transcribe",
        language=whole.language,
        duration=round(whole.seconds, 3),
        text=whole.text,
        usage=_duration(whole),
        segments=segments if "segment" in times else None,
        words=words if "word" in times else None,
    )


def _duration(whole: pb.Result) -> Duration:
    return Duration(math.ceil(whole.seconds))
