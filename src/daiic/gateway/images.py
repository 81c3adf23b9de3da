"""POST /v1/images/generations, and the files that it may have promised."""

import base64
import contextlib
import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.errors import SERVER, ApiError
from daiic.gateway.gateway import Gateway
from daiic.gateway.json_endpoint import Call
from daiic.gateway.reply import event
from daiic.gateway.requests import ImageRequest
from daiic.gateway.responses import ImageCompleted, ImageData, ImageProgress, Images
from daiic.wire import daiic_pb2 as pb

FILES = "/v1/images/files"


async def generate(gateway: Gateway, request: ImageRequest, call: Call) -> None:
    """Answer POST /v1/images/generations."""
    call.activity.model = request.model or _only_image_model(gateway)
    task = gateway.task(
        call.activity.model, pb.IMAGE, stream=bool(request.stream), client=call.client
    )
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
        call.reply.open_stream()
    images: list[pb.Image] = []
    async with contextlib.aclosing(gateway.cluster.run(task)) as parts:
        async for part in parts:
            images.extend(part.images)
            call.activity.output(part.worker_id, len(part.images))
            if request.stream and part.HasField("progress"):
                await call.reply.write(_progress(part.progress))
    if not images:
        raise ApiError(502, "the worker sent no image: try again", kind=SERVER, code="no_image")
    if request.stream:
        await call.reply.write(_completed(images), last=True)
    elif request.response_format == "b64_json":
        await call.reply.json(Images(int(time.time()), [_inline(image) for image in images]))
    else:
        data = [
            ImageData(image.seed, url=f"{call.base_url}{FILES}/{gateway.images.put(image.png)}.png")
            for image in images
        ]
        await call.reply.json(Images(int(time.time()), data))


def serve_file(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/images/files/<name>.png; the name is the permission."""
    png = gateway.images.get(request.path_params["name"])
    if png is None:
        raise ApiError(
            404,
            f"there is no such image; images can be fetched for {gateway.settings.image_ttl:g} s "
            "after they were made",
            code="image_not_found",
        )
    return Response(
        png,
        media_type="image/png",
        headers={"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"},
    )


def _only_image_model(gateway: Gateway) -> str:
    names = [model.name for model in gateway.view.usable if model.kind == pb.IMAGE]
    if len(names) != 1:
        listed = f"choose one of {', '.join(names)}" if names else "no worker has an image model"
        raise ApiError(400, f"model: is missing; {listed}", param="model")
    return names[0]


def _inline(image: pb.Image) -> ImageData:
    return ImageData(image.seed, b64_json=base64.b64encode(image.png).decode("ascii"))


def _progress(progress: pb.Progress) -> bytes:
    data = ImageProgress(progress.phase, progress.done, progress.total)
    return event(msgspec.json.encode(data), data.type)


def _completed(images: list[pb.Image]) -> bytes:
    now = int(time.time())
    events = []
    for index, image in enumerate(images):
        inline = base64.b64encode(image.png).decode("ascii")
        data = ImageCompleted(inline, now, index, image.seed)
        events.append(event(msgspec.json.encode(data), data.type))
    return b"".join(events)
