"""Responses that were kept: GET and DELETE /v1/responses/<id>, and what belongs to it."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.errors import ApiError
from daiic.gateway.openai.responses.store import KeptResponse, ResponseStore
from daiic.gateway.openai.schema.response import DeletedResponse
from daiic.gateway.openai.schema.response_items import InputItem, InputItems
from daiic.shown import shown

PATH = "/v1/responses/{response_id}"
MOST_ITEMS = 100
USUAL_ITEMS = 20


def routes(store: ResponseStore) -> list[Route]:
    """Return the routes of what is kept in `store`."""

    def route(path: str, method: str, answer: Callable[[Request, str, str], bytes]) -> Route:
        async def endpoint(request: Request) -> Response:
            entry = AccessLogEntry.of(request.scope)
            entry.endpoint = "responses"
            body = answer(request, request.path_params["response_id"], entry.client.id)
            return Response(body, media_type="application/json")

        return Route(path, endpoint, methods=[method])

    def kept(response_id: str, client: str) -> KeptResponse:
        found = store.get(response_id, client)
        if found is None:
            raise _not_found(response_id)
        return found

    def show(request: Request, response_id: str, client: str) -> bytes:
        if request.query_params.get("stream", "false").lower() not in ("false", "0", ""):
            raise ApiError(
                400, "stream: a response that was kept is not streamed again", param="stream"
            )
        return kept(response_id, client).response

    def delete(request: Request, response_id: str, client: str) -> bytes:
        if not store.delete(response_id, client):
            raise _not_found(response_id)
        return msgspec.json.encode(DeletedResponse(response_id))

    def list_input(request: Request, response_id: str, client: str) -> bytes:
        return msgspec.json.encode(_page(kept(response_id, client).items, request))

    def cancel(request: Request, response_id: str, client: str) -> bytes:
        kept(response_id, client)
        raise ApiError(
            400,
            f"{shown(response_id)} is complete: only responses in the background can be "
            "cancelled, and there are none here; to stop a stream, close it",
            code="not_cancellable",
        )

    return [
        route(PATH, "GET", show),
        route(PATH, "DELETE", delete),
        route(f"{PATH}/input_items", "GET", list_input),
        route(f"{PATH}/cancel", "POST", cancel),
    ]


def _page(items: list[InputItem], request: Request) -> InputItems:
    """Return the part of `items` that the query asks for, the last ones first unless it says so."""
    query = request.query_params
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, 'order: it is "asc" or "desc"', param="order")
    limit = query.get("limit", str(USUAL_ITEMS))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_ITEMS):
        raise ApiError(400, f"limit: it is a number from 1 to {MOST_ITEMS}", param="limit")
    if order == "desc":
        items = items[::-1]
    after = query.get("after")
    if after is not None:
        ids = [item.id for item in items]
        if after not in ids:
            raise ApiError(400, "after: there is no such item", param="after")
        items = items[ids.index(after) + 1 :]
    page = items[: int(limit)]
    return InputItems(
        page,
        page[0].id if page else None,
        page[-1].id if page else None,
        len(items) > len(page),
    )


def _not_found(response_id: str) -> ApiError:
    return ApiError(
        404,
        f"there is no response {shown(response_id)}: they are kept for a limited time, by the "
        "gateway that made them, for the client that asked",
        code="response_not_found",
    )
