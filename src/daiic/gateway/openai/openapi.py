"""The OpenAPI document, made from the types that requests are checked against."""

from collections.abc import Iterable
from typing import Any

import msgspec

from daiic.gateway.http.upload import Upload
from daiic.gateway.limits import USAGE_DAYS
from daiic.gateway.openai.audio.sound_file import MEDIA_TYPES as SOUNDS
from daiic.gateway.openai.audio.transcriptions import TYPES as TRANSCRIPTS
from daiic.gateway.openai.errors import ErrorBody
from daiic.gateway.openai.responses.kept import MOST_ITEMS
from daiic.gateway.openai.schema.audio import (
    SpeechDelta,
    SpeechDone,
    SpeechRequest,
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptionRequest,
    TranslationRequest,
    VerboseTranscription,
)
from daiic.gateway.openai.schema.chat import ChatRequest
from daiic.gateway.openai.schema.chat_answer import ChatChunk, ChatCompletion
from daiic.gateway.openai.schema.completions import Completion, CompletionRequest
from daiic.gateway.openai.schema.embeddings import EmbeddingRequest, Embeddings
from daiic.gateway.openai.schema.image_answer import (
    ImageCompleted,
    ImageProgress,
    Images,
    PartialImage,
)
from daiic.gateway.openai.schema.images import (
    ImageEditRequest,
    ImageRequest,
    ImageVariationRequest,
)
from daiic.gateway.openai.schema.models import Model, Models
from daiic.gateway.openai.schema.response import DeletedResponse, Response
from daiic.gateway.openai.schema.response_events import EVENTS
from daiic.gateway.openai.schema.response_items import InputItems
from daiic.gateway.openai.schema.response_request import ResponseRequest
from daiic.gateway.reranking.routes import PATHS as RERANK
from daiic.gateway.reranking.schema import Reranked, RerankRequest
from daiic.gateway.usage.endpoint import GROUPS, UsagePage
from daiic.version import VERSION

_BODIES = (
    ChatRequest,
    CompletionRequest,
    ImageRequest,
    EmbeddingRequest,
    ChatCompletion,
    ChatChunk,
    Completion,
    ResponseRequest,
    Response,
    *EVENTS,
    DeletedResponse,
    InputItems,
    Images,
    ImageEditRequest,
    ImageVariationRequest,
    ImageProgress,
    PartialImage,
    ImageCompleted,
    Embeddings,
    TranscriptionRequest,
    TranslationRequest,
    Transcription,
    VerboseTranscription,
    TranscriptDelta,
    TranscriptDone,
    SpeechRequest,
    SpeechDelta,
    SpeechDone,
    RerankRequest,
    Reranked,
    Models,
    Model,
    UsagePage,
    ErrorBody,
)

FORM = "multipart/form-data"
_ERRORS = {
    "400": "A parameter is wrong, or the model cannot do this; `param` names the parameter",
    "401": "The API key is missing or not valid",
    "403": "Not allowed, or the model needs a permission of Hugging Face that the cluster lacks",
    "404": "There is no such model; the message lists those that there are",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body is not JSON, or not the form that is wanted",
    "429": "The queue is full, or the key is at its limit; Retry-After says when to try again",
    "431": "The headers are too large",
    "502": "The worker was lost, and no other could take over",
    "503": "No worker can serve the model at the moment, or no head answers",
    "504": "The answer took too long",
}


def _parameter(place: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


_SECONDS = {"type": "integer", "minimum": 0}
_RESPONSE_ID = _parameter("path", "response_id", {"type": "string", "minLength": 1})


def _file(kind: type) -> dict[str, Any]:
    """Return the schema of a file in a form."""
    assert kind is Upload
    return {"type": "string", "format": "binary"}


def document(keys_needed: bool) -> bytes:
    """Return the document as JSON; with `keys_needed` it asks for a bearer key."""
    schemas, components = msgspec.json.schema_components(
        _BODIES, schema_hook=_file, ref_template="#/components/schemas/{name}"
    )
    of = dict(zip(_BODIES, schemas, strict=True))
    image_events = [of[event] for event in (ImageProgress, PartialImage, ImageCompleted)]
    paths = {
        "/v1/models": {"get": _operation("List models", None, of[Models], of)},
        "/v1/models/{model}": {
            "get": _operation("Show a model", None, of[Model], of),
            "parameters": [_parameter("path", "model", {"type": "string", "minLength": 1})],
        },
        "/v1/usage": {
            "get": _operation("Tell what keys used, by day", None, of[UsagePage], of),
            "parameters": [
                _parameter("query", "start_time", _SECONDS),
                _parameter("query", "end_time", _SECONDS),
                _parameter(
                    "query", "limit", {"type": "integer", "minimum": 1, "maximum": USAGE_DAYS}
                ),
                _parameter("query", "group_by", {"type": "array", "items": {"enum": [*GROUPS]}}),
                _parameter("query", "page", {"type": "string", "format": "date"}),
            ],
        },
        "/v1/chat/completions": {
            "post": _operation(
                "Answer a conversation",
                of[ChatRequest],
                of[ChatCompletion],
                of,
                events=[of[ChatChunk]],
            )
        },
        "/v1/completions": {
            "post": _operation(
                "Continue a text",
                of[CompletionRequest],
                of[Completion],
                of,
                events=[of[Completion]],
            )
        },
        "/v1/responses": {
            "post": _operation(
                "Answer the next turn of a conversation",
                of[ResponseRequest],
                of[Response],
                of,
                events=[of[event] for event in EVENTS],
            )
        },
        "/v1/responses/{response_id}": {
            "get": _operation("Show a response that is kept", None, of[Response], of),
            "delete": _operation("Forget a response", None, of[DeletedResponse], of),
            "parameters": [_RESPONSE_ID],
        },
        "/v1/responses/{response_id}/input_items": {
            "get": _operation("List what a response answers", None, of[InputItems], of),
            "parameters": [
                _RESPONSE_ID,
                _parameter("query", "order", {"enum": ["asc", "desc"], "default": "desc"}),
                _parameter(
                    "query",
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS},
                ),
                _parameter("query", "after", {"type": "string"}),
            ],
        },
        "/v1/responses/{response_id}/cancel": {
            "post": _operation("Refused: none is made in the background", None, of[Response], of),
            "parameters": [_RESPONSE_ID],
        },
        "/v1/images/generations": {
            "post": _operation("Make images", of[ImageRequest], of[Images], of, events=image_events)
        },
        "/v1/images/edits": {
            "post": _operation(
                "Change an image", of[ImageEditRequest], of[Images], of, image_events, FORM
            )
        },
        "/v1/images/variations": {
            "post": _operation(
                "Make images like one",
                of[ImageVariationRequest],
                of[Images],
                of,
                image_events,
                FORM,
            )
        },
        "/v1/audio/transcriptions": {
            "post": _operation(
                "Write down a recording",
                of[TranscriptionRequest],
                {"anyOf": [of[Transcription], of[VerboseTranscription]]},
                of,
                [of[TranscriptDelta], of[TranscriptDone]],
                FORM,
                others=TRANSCRIPTS.values(),
            )
        },
        "/v1/audio/translations": {
            "post": _operation(
                "Write down a recording in English",
                of[TranslationRequest],
                {"anyOf": [of[Transcription], of[VerboseTranscription]]},
                of,
                body_type=FORM,
                others=TRANSCRIPTS.values(),
            )
        },
        "/v1/audio/speech": {
            "post": _operation(
                "Say a text",
                of[SpeechRequest],
                None,
                of,
                events=[of[SpeechDelta], of[SpeechDone]],
                others=SOUNDS.values(),
            )
        },
        "/v1/embeddings": {
            "post": _operation("Embed texts", of[EmbeddingRequest], of[Embeddings], of)
        },
        **{
            path: {"post": _operation("Rank documents", of[RerankRequest], of[Reranked], of)}
            for path in RERANK
        },
    }
    whole: dict[str, Any] = {
        "openapi": "3.2.0",
        "info": {
            "title": "DAIIC gateway",
            "version": VERSION,
            "description": "OpenAI's API, served by a DAIIC cluster.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }
    if keys_needed:
        whole["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"key": []}]
    return msgspec.json.encode(whole)


def _operation(
    summary: str,
    body: dict[str, Any] | None,
    answer: dict[str, Any] | None,
    of: dict[Any, dict[str, Any]],
    events: list[dict[str, Any]] | None = None,
    body_type: str = "application/json",
    others: Iterable[bytes] = (),
) -> dict[str, Any]:
    """Return the description of one; `others` are types of answers that are no JSON."""
    content: dict[str, Any] = {kind.decode(): {} for kind in others}
    if answer is not None:
        content["application/json"] = {"schema": answer}
    if events:
        content["text/event-stream"] = {"itemSchema": _event([*events, of[ErrorBody]])}
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "The answer", "content": content}}
        | {
            status: {
                "description": text,
                "content": {"application/json": {"schema": of[ErrorBody]}},
            }
            for status, text in _ERRORS.items()
        },
    }
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {body_type: {"schema": body}},
        }
    return operation


def _event(data: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of a server-sent event.

    A text stream ends with the data [DONE], one that fails with an error.
    """
    encoded = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": data},
    }
    return {
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "data": {"anyOf": [{"const": "[DONE]"}, encoded]},
        },
    }
