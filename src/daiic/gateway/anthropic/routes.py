"""Every route of Anthropic's API but the list of models, which OpenAI's has the path of."""

from starlette.routing import Route

from daiic.gateway.anthropic.errors import error_body
from daiic.gateway.anthropic.messages import count_tokens, write_message
from daiic.gateway.anthropic.schema.request import CountRequest, MessagesRequest
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.work import WORK


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes."""
    text = WORK["text"]
    return [
        Route(
            "/v1/messages",
            JsonEndpoint(gateway, "message", text, MessagesRequest, write_message, error_body),
            methods=["POST"],
        ),
        Route(
            "/v1/messages/count_tokens",
            JsonEndpoint(gateway, "token_count", text, CountRequest, count_tokens, error_body),
            methods=["POST"],
        ),
    ]
