"""GET /v1/models and /v1/models/<id>: what the workers have."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.monitoring.cluster_view import KnownModel
from daiic.gateway.openai.schema.models import Model, Models
from daiic.wire import daiic_pb2 as pb


def list_models(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/models."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    return _json(Models([_model(known) for known in _usable(gateway).values()]))


def show_model(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/models/<id>; the id may have slashes."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    name = request.path_params["name"]
    known = _usable(gateway).get(gateway.view.meant(name))
    if known is None:
        missing = TaskError(pb.MODEL_NOT_FOUND, f"there is no model {name}")
        raise gateway.explain(missing)
    return _json(_model(known))


def _usable(gateway: Gateway) -> dict[str, KnownModel]:
    reason = gateway.view.problem
    if reason is None and gateway.view.status is None:
        reason = TaskError(pb.HEAD_UNREACHABLE, "the head has not answered yet", "try again soon")
    if reason is not None:
        raise gateway.explain(reason)
    return {model.name: model for model in gateway.view.usable}


def _model(known: KnownModel) -> Model:
    return Model(
        known.name,
        known.since,
        known.kind_name,
        known.state_name,
        known.capability_names,
        known.quantization,
        known.bytes,
    )


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
