"""POST /v1/images/generations."""

import base64
import contextlib
import time

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import server_sent_event
from daiic.gateway.openai.image_files import FILES
from daiic.gateway.openai.image_store import ImageStore
from daiic.gateway.openai.schema.images import (
    ImageCompleted,
    ImageData,
    ImageProgress,
    ImageRequest,
    Images,
)
from daiic.wire import daiic_pb2 as pb


async def generate(
    store: ImageStore, gateway: Gateway, request: ImageRequest, context: RequestContext
) -> None:
    """Answer a POST; images that are asked for as URLs are kept in `store`."""
    context.activity.model = request.model or _only_image_model(gateway)
    task = gateway.task(context.activity.model, stream=bool(request.stream), client=context.client)
    image = task.image
    image.prompt = request.prompt
    image.negative_prompt = request.negative_prompt or ""
    image.width, image.height = request.pixels
    image.steps = request.steps or 0
    image.n = request.n or 1
    if request.guidance is not None:
        image.guidance = request.guidance
    if request.seed is not None:
        image.seed = request.seed % 2**64
    if request.stream:
        context.response.start_stream()
    images: list[pb.Image] = []
    async with contextlib.aclosing(gateway.cluster.run(task)) as parts:
        async for part in parts:
            if part.started_over:
                images.clear()
            images.extend(part.images)
            context.activity.output(part.worker_id, len(part.images))
            if request.stream and part.HasField("progress"):
                await context.response.write(_progress(part.progress))
    if not images:
        raise ApiError(502, "the worker sent no image: try again", type=SERVER, code="no_image")
    gateway.activity.count_images(context.activity.model, len(images))
    if request.stream:
        await context.response.write(_completed(images), last=True)
    elif request.response_format == "b64_json":
        await context.response.send_json(
            Images(int(time.time()), [_inline(image) for image in images])
        )
    else:
        data = [
            ImageData(image.seed, url=f"{context.base_url}{FILES}/{store.put(image.png)}.png")
            for image in images
        ]
        await context.response.send_json(Images(int(time.time()), data))


def _only_image_model(gateway: Gateway) -> str:
    names = [model.name for model in gateway.usable if pb.PAINT in model.capabilities]
    if len(names) != 1:
        listed = (
            f"choose one of {', '.join(names)}"
            if names
            else "no worker has a model that makes images"
        )
        raise ApiError(400, f"model: is missing; {listed}", param="model")
    return names[0]


def _inline(image: pb.Image) -> ImageData:
    return ImageData(image.seed, b64_json=base64.b64encode(image.png).decode("ascii"))


def _progress(progress: pb.Progress) -> bytes:
    data = ImageProgress(progress.phase, progress.done, progress.total)
    return server_sent_event(msgspec.json.encode(data), data.type)


def _completed(images: list[pb.Image]) -> bytes:
    now = int(time.time())
    events = []
    for index, image in enumerate(images):
        inline = base64.b64encode(image.png).decode("ascii")
        data = ImageCompleted(inline, now, index, image.seed)
        events.append(server_sent_event(msgspec.json.encode(data), data.type))
    return b"".join(events)
