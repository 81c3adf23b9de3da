"""The OpenAPI document describes every route that programs use."""

import json
import re

from starlette.applications import Starlette
from starlette.routing import Route

from daiic.gateway.app import APIS
from daiic.gateway.login.paths import SESSION
from daiic.gateway.openapi.document import document
from support.gateway_in_process import GatewayInProcess

API = re.compile(r"/(v1|v2|api)/|/rerank$")
THE_PAGES = {
    "/api/cluster",  # a stream that shows what the page draws, and changes with it
    "/api/benches",  # the page's view of benches; programs run `daiic bench`
    SESSION,  # whether a browser is logged in, which programs with a key never are
}


def routed(app: object) -> set[tuple[str, str]]:
    """Return the path and the method of every route beneath the layers of `app`."""
    while not isinstance(app, Starlette):
        app = app.app if hasattr(app, "app") else app._app
    return {
        (re.sub(r"\{\w+(:\w+)?\}", "{}", route.path), method)
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }


async def test_every_route_that_programs_use_is_described_and_no_other() -> None:
    described = json.loads(document(APIS, keys_needed=False))["paths"]
    declared = {
        (re.sub(r"\{\w+\}", "{}", path), method.upper())
        for path, operations in described.items()
        for method in operations
    }
    routes = routed(GatewayInProcess().app)
    assert {path for path, _ in routes} >= THE_PAGES
    assert declared == {
        (path, method) for path, method in routes if API.match(path) and path not in THE_PAGES
    }


def test_each_type_has_a_name_of_its_own() -> None:
    # msgspec names types of the same name after their modules.
    named = json.loads(document(APIS, keys_needed=False))["components"]["schemas"]
    assert [name for name in named if not name.isalnum()] == []
    whole = document(APIS, keys_needed=False).decode()
    referred = set(re.findall(r"#/components/schemas/([^\"]+)", whole))
    assert referred <= named.keys()
    ends = {api.prefix: named[f"{api.prefix}ErrorBody"]["properties"]["error"] for api in APIS}
    assert ends["Ollama"] == {"type": "string"}
    assert ends["Anthropic"] == {"$ref": "#/components/schemas/AnthropicErrorDetail"}


def test_the_document_asks_for_a_key_where_one_is_needed() -> None:
    open_, closed = (json.loads(document(APIS, keys_needed=needed)) for needed in (False, True))
    assert "security" not in open_
    assert closed["security"] == [{"key": []}]
    assert closed["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
