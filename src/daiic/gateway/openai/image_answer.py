"""How images are sent: at the end, inline or by URL, or in a stream with what comes before."""

import base64
import contextlib
import time
from typing import Any, Literal

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.openai.image_files import FILES
from daiic.gateway.openai.image_store import ImageStore
from daiic.gateway.openai.schema.image_answer import (
    ImageCompleted,
    ImageData,
    ImageProgress,
    Images,
    PartialImage,
)
from daiic.gateway.openai.schema.images import ImageOptions
from daiic.wire import daiic_pb2 as pb

Events = Literal["image_generation", "image_edit"]


async def answer_images(
    store: ImageStore,
    gateway: Gateway,
    task: pb.Task,
    request: ImageOptions,
    context: RequestContext,
    events: Events,
) -> None:
    """Run `task` and send its images as `request` asks; `events` begins the types of a stream's."""
    if request.stream:
        context.response.start_stream()
    images: list[pb.Image] = []
    shown: set[tuple[int, int]] = set()
    async with contextlib.aclosing(gateway.cluster.run(task)) as parts:
        async for part in parts:
            if part.started_over:
                images.clear()
            images.extend(part.images)
            context.activity.output(part.worker_id, len(part.images))
            if not request.stream:
                continue
            if part.HasField("progress"):
                await context.response.write(_progress(part.progress, events))
            for preview in part.previews:
                # A worker that takes over shows again what the one before it had shown.
                if (preview.image, preview.number) not in shown:
                    shown.add((preview.image, preview.number))
                    await context.response.write(_partial(preview, request, events))
    if not images:
        raise ApiError(502, "the worker sent no image: try again", type=SERVER, code="no_image")
    gateway.activity.count_images(context.activity.model, len(images))
    if request.stream:
        await context.response.write(_completed(images, request, events), last=True)
        return
    if request.response_format == "b64_json":
        data = [ImageData(image.seed, b64_json=_base64(_content(image))) for image in images]
    else:
        folder = f"{context.base_url}{FILES}/"
        data = [
            ImageData(image.seed, url=folder + store.put(_content(image), request.format))
            for image in images
        ]
    await context.response.send_json(Images(int(time.time()), data, request.format))


def _content(image: pb.Image) -> bytes:
    return image.media.data or image.png


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _progress(progress: pb.Progress, events: Events) -> bytes:
    return _event(
        ImageProgress, f"{events}.progress", (progress.phase, progress.done, progress.total)
    )


def _partial(preview: pb.Preview, request: ImageOptions, events: Events) -> bytes:
    said = (_base64(preview.media.data), int(time.time()), preview.image, preview.number)
    rest = (request.size or "auto", request.format)
    return _event(PartialImage, f"{events}.partial_image", (*said, *rest))


def _completed(images: list[pb.Image], request: ImageOptions, events: Events) -> bytes:
    now = int(time.time())
    rest = (request.size or "auto", request.format)
    return b"".join(
        _event(
            ImageCompleted,
            f"{events}.completed",
            (_base64(_content(image)), now, index, image.seed, *rest),
        )
        for index, image in enumerate(images)
    )


def _event(kind: Any, type: str, said: tuple[Any, ...]) -> bytes:
    return server_sent_event(msgspec.json.encode(kind(*said, type)), type)
