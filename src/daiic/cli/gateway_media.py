"""Pictures and sound from a gateway: tasks as requests, and answers as results."""

import base64
from collections.abc import AsyncGenerator
from typing import Any

from daiic.cli.gateway_http import GatewayHttp, of_this_api
from daiic.wire import daiic_pb2 as pb

PCM_RATE = 24_000
"""Samples a second of PCM, of which the API does not say how many they are."""


async def make_images(http: GatewayHttp, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
    """Yield the pictures that an image task is for."""
    work = task.image
    body: dict[str, Any] = {
        "model": task.model,
        "prompt": work.prompt,
        "n": work.n or 1,
        "response_format": "b64_json",
    }
    if work.width and work.height:
        body["size"] = f"{work.width}x{work.height}"
    if work.negative_prompt:
        body["negative_prompt"] = work.negative_prompt
    if work.steps:
        body["steps"] = work.steps
    for field in ("guidance", "seed", "strength"):
        if work.HasField(field):
            body[field] = getattr(work, field)
    if work.type:
        body["output_format"] = work.type.removeprefix("image/")
    if work.quality:
        body["output_compression"] = work.quality
    if not work.HasField("image"):
        answer = await http.json("POST", "/v1/images/generations", body)
    else:
        files = {"image": work.image.data, "mask": work.mask.data}
        sent = {name: (name, data) for name, data in files.items() if data}
        path = "/v1/images/edits" if work.prompt or work.mask.data else "/v1/images/variations"
        answer = await http.json("POST", path, body, sent)
    result = pb.Result(final=True)
    with of_this_api():
        for image in answer["data"]:
            content = base64.b64decode(image["b64_json"])
            made = result.images.add(seed=int(image.get("seed", 0)))
            if work.type:
                made.media.data, made.media.type = content, work.type
            else:
                made.png = content
    yield result


async def transcribe(http: GatewayHttp, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
    """Yield what is said in the recording of a transcription task."""
    work = task.transcribe
    body: dict[str, Any] = {"model": task.model, "response_format": "verbose_json"}
    for field in ("language", "prompt"):
        if getattr(work, field):
            body[field] = getattr(work, field)
    for field in ("temperature", "seed"):
        if work.HasField(field):
            body[field] = getattr(work, field)
    path = "/v1/audio/translations" if work.translate else "/v1/audio/transcriptions"
    answer = await http.json("POST", path, body, {"file": ("recording", work.audio.data)})
    result = pb.Result(final=True)
    with of_this_api():
        result.text = answer["text"]
        result.language, result.seconds = answer["language"], answer["duration"]
        for one in answer.get("segments") or ():
            result.segments.add(start=one["start"], end=one["end"], text=one["text"])
    yield result


async def speak(http: GatewayHttp, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
    """Yield the sound of what a speech task has said."""
    work = task.speak
    body: dict[str, Any] = {"model": task.model, "input": work.input, "response_format": "pcm"}
    if work.voice:
        body["voice"] = work.voice
    for field in ("speed", "seed"):
        if work.HasField(field):
            body[field] = getattr(work, field)
    samples = await http.answered("POST", "/v1/audio/speech", json=body)
    speech = pb.Speech(samples=samples.content, rate=PCM_RATE)
    yield pb.Result(final=True, speech=speech)
