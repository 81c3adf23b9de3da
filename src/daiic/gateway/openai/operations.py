"""What OpenAI's API is, for the OpenAPI document."""

from typing import get_args

from daiic.gateway.openai.audio import operations as audio
from daiic.gateway.openai.image_files import FILES
from daiic.gateway.openai.responses import operations as responses
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
    ImageFormat,
    ImageRequest,
    ImageVariationRequest,
)
from daiic.gateway.openai.schema.models import Model, Models
from daiic.gateway.openapi.operation import FORM, JSON, Operation, Stream, path_parameter


def _images(path: str, summary: str, body: type, body_type: str) -> Operation:
    stream = Stream((ImageProgress, PartialImage, ImageCompleted))
    return Operation("post", path, summary, body, body_type, (Images,), stream=stream)


OPERATIONS = (
    # Clients that send Anthropic's version get models in Anthropic's shape.
    Operation("get", "/v1/models", "List models", answers=(Models,)),
    Operation(
        "get",
        "/v1/models/{model}",
        "Show a model",
        answers=(Model,),
        parameters=(path_parameter("model"),),
    ),
    Operation(
        "post",
        "/v1/chat/completions",
        "Answer a conversation",
        ChatRequest,
        answers=(ChatCompletion,),
        stream=Stream((ChatChunk,), has_end_mark=True),
    ),
    Operation(
        "post",
        "/v1/completions",
        "Continue a text",
        CompletionRequest,
        answers=(Completion,),
        stream=Stream((Completion,), has_end_mark=True),
    ),
    *responses.OPERATIONS,
    _images("/v1/images/generations", "Make images", ImageRequest, JSON),
    _images("/v1/images/edits", "Change an image", ImageEditRequest, FORM),
    _images("/v1/images/variations", "Make images like one", ImageVariationRequest, FORM),
    Operation(
        "get",
        f"{FILES}/{{file}}",
        "Fetch an image that was asked for as a URL",
        other_answers=tuple(f"image/{each}" for each in get_args(ImageFormat)),
        parameters=(path_parameter("file"),),
    ),
    *audio.OPERATIONS,
    Operation("post", "/v1/embeddings", "Embed texts", EmbeddingRequest, answers=(Embeddings,)),
)
