"""GET /api/tags, /api/ps, /api/version, POST /api/show, DELETE /api/delete: what workers have."""

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.admin import check_is_admin
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.json_response import json_response
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.managing.endpoint import managed
from daiic.gateway.managing.schema import ManageRequest
from daiic.gateway.monitoring.cluster_view import KnownModel
from daiic.gateway.ollama.schema.answer import (
    Deleted,
    Details,
    Listed,
    Loaded,
    Processes,
    Shown,
    Tags,
    Version,
)
from daiic.gateway.ollama.schema.request import DeleteRequest, ShowRequest
from daiic.gateway.rfc3339 import rfc3339
from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb

FOREVER = "9999-12-31T23:59:59Z"
"""Models leave memory when another one needs it, and at no time that is known before."""
CAPABILITIES = {
    pb.COMPLETE: "completion",
    pb.TOOLS: "tools",
    pb.SEE: "vision",
    pb.HEAR: "audio",
    pb.PAINT: "image",
}
"""Ollama's words. Those that embed are, to its clients, good for nothing else."""


def list_tags(gateway: Gateway, request: Request) -> Response:
    """Answer GET /api/tags."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    return json_response(
        Tags(
            [
                Listed(
                    known.name,
                    known.name,
                    rfc3339(known.since),
                    known.bytes,
                    _digest(known),
                    _about(known),
                )
                for known in gateway.models().values()
            ]
        )
    )


def list_loaded(gateway: Gateway, request: Request) -> Response:
    """Answer GET /api/ps; a model is in it once, with the memory that it takes on all workers."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    loaded = []
    for known in gateway.models().values():
        if known.state == pb.LOADED:
            size, on_cards = _memory(gateway, known.name)
            loaded.append(
                Loaded(
                    known.name, known.name, size, on_cards, _digest(known), _about(known), FOREVER
                )
            )
    return json_response(Processes(loaded))


def version(request: Request) -> Response:
    """Answer GET /api/version."""
    return json_response(Version(VERSION))


async def show(gateway: Gateway, request: ShowRequest, context: RequestContext) -> None:
    """Answer POST /api/show."""
    known = gateway.model(request.model)
    words = ["embedding"] if known.kind == pb.EMBEDDING else []
    words += [word for need, word in CAPABILITIES.items() if need in known.capabilities]
    await context.response.send_json(Shown(rfc3339(known.since), _about(known), words))


async def delete(gateway: Gateway, request: DeleteRequest, context: RequestContext) -> None:
    """Answer DELETE /api/delete; the first worker that cannot ends it."""
    check_is_admin(context.client)
    asked = ManageRequest(request.model, "delete")
    failed = [outcome for outcome in await managed(gateway, asked, context) if outcome.error]
    if failed:
        raise ApiError(400, f"{failed[0].name}: {failed[0].error}")
    await context.response.send_json(Deleted())


def _memory(gateway: Gateway, name: str) -> tuple[int, int]:
    """Return the bytes that the model takes on all workers, and those of them on cards."""
    loaded = [copy for copy in gateway.view.copies(name) if copy.state == pb.LOADED]
    on_cards = sum(copy.bytes for copy in loaded if copy.placement == "gpu")
    return sum(copy.bytes for copy in loaded), on_cards


def _about(known: KnownModel) -> Details:
    return Details(known.quantization)


def _digest(known: KnownModel) -> str:
    """Return what clients tell models apart by; it is none of their files."""
    return hashlib.sha256(known.name.encode()).hexdigest()
