"""JSON Schemas that clients send for answers and for the arguments of tools."""

from typing import Any

import msgspec

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import SCHEMA_BYTES, SCHEMA_DEPTH
from daiic.json_depth import depth_of


def schema_text(schema: dict[str, Any], where: str) -> str:
    """Return `schema` as JSON for a task; `where` names it in errors.

    Whether a model can be held to it is for the worker to say.

    Raises:
        ApiError: 400 if it is too large or nested too deeply.
    """
    # Its size first: a walk through what is too large would hold up everybody.
    text = checked_size(msgspec.json.encode(schema).decode(), where)
    if depth_of(schema) > SCHEMA_DEPTH:
        raise ApiError(
            400, f"{where}: it is nested more than {SCHEMA_DEPTH} levels deep", param=where
        )
    return text


def checked_size(text: str, where: str) -> str:
    """Return `text`, which says what an answer must be.

    Raises:
        ApiError: 400 if it is too long.
    """
    if len(text) > SCHEMA_BYTES:
        raise ApiError(
            400,
            f"{where}: it has {len(text)} characters; send at most {SCHEMA_BYTES}",
            param=where,
        )
    return text
