"""POST /v1/images/generations, edits and variations: one task for all images of a request."""

from functools import partial

from starlette.routing import Route

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.form_endpoint import FormEndpoint
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.http.post_endpoint import Answer, Request
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.upload import Upload
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.image_answer import answer_images
from daiic.gateway.openai.image_store import ImageStore
from daiic.gateway.openai.schema.images import (
    ImageEditRequest,
    ImageOptions,
    ImageRequest,
    ImageVariationRequest,
)
from daiic.model_kinds import ABILITIES
from daiic.wire import daiic_pb2 as pb
from daiic.work import WORK


def routes(gateway: Gateway, store: ImageStore) -> list[Route]:
    """Return the routes; images that are asked for as URLs are kept in `store`."""
    work = WORK["image"]

    def json(path: str, body: type[Request], answer: Answer[Request]) -> Route:
        endpoint = JsonEndpoint(gateway, "image", work, body, answer, error_body)
        return Route(path, endpoint, methods=["POST"])

    def form(path: str, body: type[Request], answer: Answer[Request]) -> Route:
        endpoint = FormEndpoint(gateway, "image", work, body, answer, error_body)
        return Route(path, endpoint, methods=["POST"])

    return [
        json("/v1/images/generations", ImageRequest, partial(generate, store)),
        form("/v1/images/edits", ImageEditRequest, partial(edit, store)),
        form("/v1/images/variations", ImageVariationRequest, partial(vary, store)),
    ]


async def generate(
    store: ImageStore, gateway: Gateway, request: ImageRequest, context: RequestContext
) -> None:
    """Answer POST /v1/images/generations."""
    task = _task(gateway, request, context, pb.PAINT)
    task.image.prompt = request.prompt
    await answer_images(store, gateway, task, request, context, "image_generation")


async def edit(
    store: ImageStore, gateway: Gateway, request: ImageEditRequest, context: RequestContext
) -> None:
    """Answer POST /v1/images/edits."""
    task = _task(gateway, request, context, pb.EDIT)
    task.image.prompt = request.prompt
    _begin_with(task.image, request.image[0], request.strength)
    if request.mask is not None:
        task.image.mask.data = request.mask.take()
    await answer_images(store, gateway, task, request, context, "image_edit")


async def vary(
    store: ImageStore, gateway: Gateway, request: ImageVariationRequest, context: RequestContext
) -> None:
    """Answer POST /v1/images/variations."""
    task = _task(gateway, request, context, pb.EDIT)
    _begin_with(task.image, request.image[0], request.strength)
    await answer_images(store, gateway, task, request, context, "image_edit")


def _task(
    gateway: Gateway, request: ImageOptions, context: RequestContext, need: pb.Capability
) -> pb.Task:
    """Return the task with what all images may be asked for."""
    context.activity.model = request.model or _only_model(gateway, need)
    task = gateway.task(context.activity.model, stream=bool(request.stream), client=context.client)
    image = task.image
    image.negative_prompt = request.negative_prompt or ""
    image.width, image.height = request.pixels
    image.steps = request.steps or 0
    image.n = request.n or 1
    image.previews = request.partial_images or 0
    if request.format != "png":  # which every worker can write
        image.type = f"image/{request.format}"
        if request.output_compression is not None:
            image.quality = max(request.output_compression, 1)
    if request.guidance is not None:
        image.guidance = request.guidance
    if request.seed is not None:
        image.seed = request.seed % 2**64
    return task


def _begin_with(image: pb.ImageTask, upload: Upload, strength: float | None) -> None:
    image.image.data = upload.take()
    if strength is not None:
        image.strength = strength


def _only_model(gateway: Gateway, need: pb.Capability) -> str:
    names = [m.name for m in gateway.usable if need in m.capabilities and not m.base]
    if len(names) != 1:
        listed = (
            f"choose one of {', '.join(names)}"
            if names
            else f"no worker has a model that can {ABILITIES[need]}"
        )
        raise ApiError(400, f"model: is missing; {listed}", param="model")
    return names[0]
