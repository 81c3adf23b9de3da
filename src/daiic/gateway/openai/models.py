"""GET /v1/models and /v1/models/<id>: what the workers have."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.monitoring.cluster_view import KnownModel
from daiic.gateway.openai.schema.models import Model, Models


def list_models(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/models."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    return _json(Models([_model(known) for known in gateway.models().values()]))


def show_model(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/models/<id>; the id may have slashes."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    return _json(_model(gateway.model(request.path_params["name"])))


def _model(known: KnownModel) -> Model:
    return Model(
        known.name,
        known.since,
        known.kind_name,
        known.state_name,
        known.capability_names,
        known.quantization,
        known.bytes,
        known.base or None,
    )


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
