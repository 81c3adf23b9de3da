"""What Ollama's API is, for the OpenAPI document."""

from daiic.gateway.ollama.errors import ErrorBody
from daiic.gateway.ollama.schema.answer import (
    Deleted,
    Embeddings,
    Line,
    OldEmbedding,
    Processes,
    Progress,
    Shown,
    Tags,
    Version,
)
from daiic.gateway.ollama.schema.request import (
    ChatRequest,
    DeleteRequest,
    EmbedRequest,
    GenerateRequest,
    OldEmbedRequest,
    PullRequest,
    ShowRequest,
)
from daiic.gateway.openapi.operation import LINES, Api, Operation, Stream

_TEXT = Stream((Line,), LINES)
_PULL = Stream((Progress,), LINES)


def _post(
    path: str, summary: str, body: type, answer: type, stream: Stream | None = None
) -> Operation:
    return Operation("post", path, summary, body, answers=(answer,), stream=stream)


def _get(path: str, summary: str, answer: type) -> Operation:
    return Operation("get", path, summary, answers=(answer,))


API = Api(
    "Ollama",
    ErrorBody,
    (
        _post("/api/chat", "Answer a conversation", ChatRequest, Line, _TEXT),
        _post("/api/generate", "Answer or continue a text", GenerateRequest, Line, _TEXT),
        _post("/api/embed", "Embed texts", EmbedRequest, Embeddings),
        _post("/api/embeddings", "Embed a text", OldEmbedRequest, OldEmbedding),
        _post("/api/pull", "Have a model downloaded and loaded", PullRequest, Progress, _PULL),
        _post("/api/show", "Tell of a model", ShowRequest, Shown),
        Operation("delete", "/api/delete", "Delete a model", DeleteRequest, answers=(Deleted,)),
        _get("/api/tags", "List models", Tags),
        _get("/api/ps", "List the models that are loaded", Processes),
        _get("/api/version", "Tell the version", Version),
    ),
)
