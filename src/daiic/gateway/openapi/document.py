"""The document, with the schemas of the types that requests are checked against."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from daiic.gateway.http.upload import Upload
from daiic.gateway.openapi.operation import EVENTS, JSON, Api, Operation, Stream
from daiic.version import VERSION

Schema = dict[str, Any]

_ERRORS = {
    "400": "A parameter is wrong, or the model cannot do this; the message names the parameter",
    "401": "The API key is missing or not valid",
    "403": "Not allowed, or the model needs a permission of Hugging Face that the cluster lacks",
    "404": "There is no such thing; of models, the message lists those that there are",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body is not JSON, or not the form that is wanted",
    "429": "The queue is full, or the key is at its limit; Retry-After says when to try again",
    "431": "The headers are too large",
    "502": "The worker was lost, and no other could take over",
    "503": "No worker can serve the model at the moment, or no head answers",
    "504": "The answer took too long",
}


def document(apis: Sequence[Api], *, keys_needed: bool) -> bytes:
    """Return the document as JSON; with `keys_needed` it asks for a bearer key."""
    paths: dict[str, Schema] = {}
    components: dict[str, Schema] = {}
    for api in apis:
        described = _Described(api)
        components |= described.components
        for operation in api.operations:
            path = paths.setdefault(operation.path, {})
            path[operation.method] = described.operation(operation)
    whole: Schema = {
        "openapi": "3.2.0",
        "info": {
            "title": "DAIIC gateway",
            "version": VERSION,
            "description": "OpenAI's, Anthropic's and Ollama's APIs, served by a DAIIC cluster.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if keys_needed:
        whole["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"key": []}]
    return msgspec.json.encode(whole)


class _Described:
    """The schemas of one API's types, and its operations made of them."""

    def __init__(self, api: Api) -> None:
        types = list(dict.fromkeys([*_types(api.operations), api.error]))
        schemas, components = msgspec.json.schema_components(
            types,
            schema_hook=_file,
            ref_template=f"#/components/schemas/{api.prefix}{{name}}",
        )
        self.components = {api.prefix + name: schema for name, schema in components.items()}
        self._of = dict(zip(types, schemas, strict=True))
        self._error = self._of[api.error]

    def operation(self, operation: Operation) -> Schema:
        """Return the description of `operation`."""
        described: Schema = {
            "summary": operation.summary,
            "responses": {
                "200": {"description": "The answer", "content": self._answers(operation)},
                **{
                    status: {
                        "description": text,
                        "content": {JSON: {"schema": self._error}},
                    }
                    for status, text in _ERRORS.items()
                },
            },
        }
        if operation.parameters:
            described["parameters"] = [
                {
                    "name": parameter.name,
                    "in": parameter.place,
                    "required": parameter.place == "path",
                    "schema": parameter.schema,
                }
                for parameter in operation.parameters
            ]
        if operation.body is not None:
            described["requestBody"] = {
                "required": True,
                "content": {operation.body_type: {"schema": self._of[operation.body]}},
            }
        return described

    def _answers(self, operation: Operation) -> Schema:
        """Return the contents by media type."""
        content: Schema = {media_type: {} for media_type in operation.other_answers}
        if operation.answers:
            content[JSON] = {"schema": _any_of([self._of[each] for each in operation.answers])}
        stream = operation.stream
        if stream is not None:
            content[stream.media_type] = {"itemSchema": self._part(stream)}
        return content

    def _part(self, stream: Stream) -> Schema:
        """Return the schema of a line, or of a server-sent event with its data."""
        part = {"anyOf": [*(self._of[each] for each in stream.parts), self._error]}
        if stream.media_type != EVENTS:
            return part
        data: Schema = {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": part,
        }
        return {
            "type": "object",
            "required": ["data"],
            "properties": {
                "event": {"type": "string"},
                "data": {"anyOf": [{"const": "[DONE]"}, data]} if stream.has_end_mark else data,
            },
        }


def _types(operations: Sequence[Operation]) -> Iterator[type]:
    for operation in operations:
        if operation.body is not None:
            yield operation.body
        yield from operation.answers
        if operation.stream is not None:
            yield from operation.stream.parts


def _any_of(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _file(kind: type) -> Schema:
    """Return the schema of a file in a form."""
    assert kind is Upload
    return {"type": "string", "format": "binary"}
