"""What a request says the text of the answer must be."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, missing_parameter
from daiic.gateway.limits import CHOSEN
from daiic.gateway.openai.schema.sampling import SampledRequest
from daiic.gateway.text.json_schema import checked_size, schema_text
from daiic.wire import daiic_pb2 as pb

NotEmpty = Annotated[str, Meta(min_length=1)]


class JsonSchema(msgspec.Struct, frozen=True):
    """A JSON Schema with a name; answers keep to it whether it is `strict` or not."""

    name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """`text`, any JSON object, or JSON that satisfies a schema.

    llama.cpp's server takes a `schema` beside "json_object", and so does this.
    """

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class StructuredOutputs(msgspec.Struct, frozen=True):
    """What the answer must be, as vLLM takes it: one of these."""

    json: dict[str, Any] | None = None
    json_object: bool | None = None
    regex: NotEmpty | None = None
    choice: Annotated[list[NotEmpty], Meta(min_length=1, max_length=CHOSEN)] | None = None
    grammar: NotEmpty | None = None


class Constrained(SampledRequest, frozen=True, kw_only=True):
    """A request whose answer may be held to a format; only `response_format` is OpenAI's."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    regex: NotEmpty | None = None
    grammar: NotEmpty | None = None

    @property
    def constraint(self) -> tuple[pb.Constraint, str] | None:
        found = [*self._response_format(), *self._structured_outputs()]
        if self.regex is not None:
            found.append((pb.Constraint(regex=checked_size(self.regex, "regex")), "regex"))
        if self.grammar is not None:
            found.append((pb.Constraint(grammar=checked_size(self.grammar, "grammar")), "grammar"))
        if len(found) > 1:
            where = found[1][1]
            raise ApiError(
                400,
                f"{where}: {found[0][1]} says already what the answer must be; send one of them",
                param=where,
            )
        return found[0] if found else None

    def _response_format(self) -> list[tuple[pb.Constraint, str]]:
        form = self.response_format
        if form is None or form.type == "text":
            return []
        schema, where = form.schema, "response_format.schema"
        if form.type == "json_schema":
            where = "response_format.json_schema.schema"
            schema = form.json_schema.schema if form.json_schema else form.schema
            if schema is None:
                raise missing_parameter(where)
        if schema is None:
            return [(pb.Constraint(json=True), "response_format")]
        return [(pb.Constraint(json_schema=schema_text(schema, where)), where)]

    def _structured_outputs(self) -> list[tuple[pb.Constraint, str]]:
        asked = self.structured_outputs
        if asked is None:
            return []
        base = "structured_outputs"
        found = []
        if asked.json is not None:
            where = f"{base}.json"
            found.append((pb.Constraint(json_schema=schema_text(asked.json, where)), where))
        if asked.json_object:
            found.append((pb.Constraint(json=True), f"{base}.json_object"))
        if asked.regex is not None:
            where = f"{base}.regex"
            found.append((pb.Constraint(regex=checked_size(asked.regex, where)), where))
        if asked.choice is not None:
            where = f"{base}.choice"
            regex = "|".join(f"(?:{re.escape(text)})" for text in asked.choice)
            found.append((pb.Constraint(regex=checked_size(regex, where)), where))
        if asked.grammar is not None:
            where = f"{base}.grammar"
            found.append((pb.Constraint(grammar=checked_size(asked.grammar, where)), where))
        return found
