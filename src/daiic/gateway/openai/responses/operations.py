"""The endpoints of responses, for the OpenAPI document."""

from daiic.gateway.openai.responses.kept import MOST_ITEMS, PATH
from daiic.gateway.openai.schema.response import DeletedResponse, Response
from daiic.gateway.openai.schema.response_events import EVENTS
from daiic.gateway.openai.schema.response_items import InputItems
from daiic.gateway.openai.schema.response_request import ResponseRequest
from daiic.gateway.openapi.operation import Operation, Parameter, Stream, path_parameter

_ID = path_parameter("response_id")

OPERATIONS = (
    Operation(
        "post",
        "/v1/responses",
        "Answer the next turn of a conversation",
        ResponseRequest,
        answers=(Response,),
        stream=Stream(EVENTS),
    ),
    Operation("get", PATH, "Show a response that is kept", answers=(Response,), parameters=(_ID,)),
    Operation("delete", PATH, "Forget a response", answers=(DeletedResponse,), parameters=(_ID,)),
    Operation(
        "get",
        f"{PATH}/input_items",
        "List what a response answers",
        answers=(InputItems,),
        parameters=(
            _ID,
            Parameter("query", "order", {"enum": ["asc", "desc"], "default": "desc"}),
            Parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS}),
            Parameter("query", "after", {"type": "string"}),
        ),
    ),
    Operation(
        "post",
        f"{PATH}/cancel",
        "Refused: none is made in the background",
        answers=(Response,),
        parameters=(_ID,),
    ),
)
