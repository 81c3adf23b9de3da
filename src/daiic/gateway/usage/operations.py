"""What can be asked of the use by keys, for the OpenAPI document."""

from daiic.gateway.limits import USAGE_DAYS
from daiic.gateway.openapi.operation import Operation, Parameter
from daiic.gateway.usage.endpoint import GROUPS, UsagePage

_SECONDS = {"type": "integer", "minimum": 0}
_DAYS = {"type": "integer", "minimum": 1, "maximum": USAGE_DAYS}

OPERATIONS = (
    Operation(
        "get",
        "/v1/usage",
        "Tell what keys used, by day",
        answers=(UsagePage,),
        parameters=(
            Parameter("query", "start_time", _SECONDS),
            Parameter("query", "end_time", _SECONDS),
            Parameter("query", "limit", _DAYS),
            Parameter("query", "group_by", {"type": "array", "items": {"enum": [*GROUPS]}}),
            Parameter("query", "page", {"type": "string", "format": "date"}),
        ),
    ),
)
