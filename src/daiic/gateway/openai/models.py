"""GET /v1/models and /v1/models/<id>: what the workers have, in the shape that the client knows."""

from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.anthropic import models as anthropic
from daiic.gateway.anthropic.models import VERSION_HEADER
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.json_response import json_response
from daiic.gateway.monitoring.cluster_view import KnownModel
from daiic.gateway.openai.schema.models import Model, Models


def list_models(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/models."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    models = list(gateway.models().values())
    if VERSION_HEADER in request.headers:
        return json_response(anthropic.Models.of(models))
    return json_response(Models([_model(known) for known in models]))


def show_model(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/models/<id>; the id may have slashes."""
    AccessLogEntry.of(request.scope).endpoint = "models"
    known = gateway.model(request.path_params["name"])
    return json_response(
        anthropic.Model.of(known) if VERSION_HEADER in request.headers else _model(known)
    )


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
