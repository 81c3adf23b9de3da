"""/api/models: POST unloads, pins or deletes a model, GET tells whether the client may do so."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daiic.client.managing import manage
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.admin import check_is_admin
from daiic.gateway.http.get_route import get_route
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.http.json_response import json_response
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.managing.schema import Managed, ManageRequest, Outcome, Rights
from daiic.gateway.openai.errors import error_body
from daiic.wire import daiic_pb2 as pb
from daiic.work import WORK

PATH = "/api/models"
ACTIONS = {
    "unload": pb.ManageTask.UNLOAD,
    "pin": pb.ManageTask.PIN,
    "unpin": pb.ManageTask.UNPIN,
    "delete": pb.ManageTask.DELETE,
}


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes."""
    endpoint = JsonEndpoint(gateway, "manage", WORK["manage"], ManageRequest, _answer, error_body)
    return [Route(PATH, endpoint, methods=["POST"]), get_route(PATH, _rights)]


def _rights(request: Request) -> Response:
    """Answer GET /api/models: whether the client may manage them."""
    return json_response(Rights(AccessLogEntry.of(request.scope).client.is_admin))


async def _answer(gateway: Gateway, request: ManageRequest, context: RequestContext) -> None:
    check_is_admin(context.client)
    outcomes = await managed(gateway, request, context)
    await context.response.send_json(Managed(outcomes))


async def managed(
    gateway: Gateway, request: ManageRequest, context: RequestContext
) -> list[Outcome]:
    """Return what became of `request` on each worker.

    Raises:
        TaskError: if no worker has the model.
    """
    gateway.models()  # so that there is a status
    assert gateway.view.status is not None
    outcomes = []
    async for done in manage(
        gateway.cluster,
        gateway.view.status,
        gateway.view.meant(request.model),
        ACTIONS[request.action],
        frozenset(request.workers),
    ):
        context.activity.output(done.worker_id, 0 if done.error else 1)
        error = f"{done.error.message}: {done.error.remedy}" if done.error else ""
        outcomes.append(Outcome(done.worker_id, done.name, error))
    return outcomes
