"""POST /v1/embeddings."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError
from daiic.gateway.limits import INPUT_TOKENS, INPUTS
from daiic.gateway.openai.schema.fields import Count, ModelName, TokenId

Tokens = Annotated[list[TokenId], Meta(min_length=1, max_length=INPUT_TOKENS)]
"""A text as the tokens that the model's own tokenizer makes of it, with those that surround it."""
PromptName = Annotated[str, Meta(min_length=1, max_length=64)]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/embeddings; `prompt_name`, `input_type` and `task` are not OpenAI's.

    The three say the same, what the inputs are to the model: sentence-transformers' name of one
    of its prompts, Cohere's word for it, and Jina's.
    """

    model: ModelName
    input: (
        str | Annotated[list[str | TokenId | Tokens], Meta(min_length=1, max_length=INPUT_TOKENS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    prompt_name: PromptName | None = None
    input_type: PromptName | None = None
    task: PromptName | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to embed; none if they come as tokens."""
        if isinstance(self.input, str):
            return [self.input]
        return [one for one in self.input if isinstance(one, str)]

    @property
    def tokens(self) -> list[list[int]]:
        """The texts that come as tokens, of which a list alone is one."""
        if isinstance(self.input, str):
            return []
        alone = [one for one in self.input if isinstance(one, int)]
        return [alone] if alone else [one for one in self.input if isinstance(one, list)]

    @property
    def prompt(self) -> str:
        """What the inputs are to the model, "" if nothing says."""
        return self.prompt_name or self.input_type or self.task or ""

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if not isinstance(self.input, str):
            if len({type(one) for one in self.input}) > 1:
                raise ApiError(
                    400, "input: send texts, or a list of tokens for each, not both", param="input"
                )
            if len(self.input) > INPUTS and not isinstance(self.input[0], int):
                raise ApiError(
                    400, f"input: at most {INPUTS} texts are embedded at once", param="input"
                )
        if not all(self.texts) and not self.tokens:
            raise ApiError(400, "input: an empty text has no embedding", param="input")
        if sum(name is not None for name in (self.prompt_name, self.input_type, self.task)) > 1:
            raise ApiError(
                400,
                "prompt_name: it says the same as input_type and task; send one of them",
                param="prompt_name",
            )


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class Embedding(msgspec.Struct, frozen=True):
    """One vector: a list of numbers, or base64 of little-endian 32-bit floats."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class Embeddings(msgspec.Struct, frozen=True):
    """The response of /v1/embeddings."""

    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    object: Literal["list"] = "list"
