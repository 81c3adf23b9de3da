"""What Anthropic's API is, for the OpenAPI document; OpenAI's describes the list of models."""

from daiic.gateway.anthropic.errors import ErrorBody
from daiic.gateway.anthropic.schema.answer import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    TokenCount,
)
from daiic.gateway.anthropic.schema.request import CountRequest, MessagesRequest
from daiic.gateway.openapi.operation import Api, Operation, Stream

API = Api(
    "Anthropic",
    ErrorBody,
    (
        Operation(
            "post",
            "/v1/messages",
            "Answer a conversation",
            MessagesRequest,
            answers=(Message,),
            stream=Stream(
                (MessageStart, BlockStart, BlockDelta, BlockStop, MessageDelta, MessageStop)
            ),
        ),
        Operation(
            "post",
            "/v1/messages/count_tokens",
            "Count the tokens of a prompt",
            CountRequest,
            answers=(TokenCount,),
        ),
    ),
)
