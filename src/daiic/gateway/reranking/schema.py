"""The bodies of POST /v1/rerank and its like.

Jina's (jina.ai/reranker) and Cohere's (docs.cohere.com/reference/rerank) ask for
the same, and their answers differ in what stands beside the results: an answer
here has what either expects.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.limits import DOCUMENTS
from daiic.gateway.openai.schema.fields import Count, ModelName


class TextDocument(msgspec.Struct, frozen=True):
    """A document that is more than its text."""

    text: str


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/rerank."""

    model: ModelName
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | TextDocument], Meta(min_length=1, max_length=DOCUMENTS)]
    top_n: Count | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    max_chunks_per_doc: Any = None
    max_tokens_per_doc: Any = None
    max_query_length: Any = None
    max_doc_length: Any = None

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [one if isinstance(one, str) else one.text for one in self.documents]

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if not self.query.strip():
            raise ApiError(400, "query: an empty text has no answer", param="query")
        if self.rank_fields not in (None, ["text"]):
            raise unsupported_parameter(
                "rank_fields", "documents are ranked by their `text`; leave it out"
            )
        lengths = ("max_chunks_per_doc", "max_tokens_per_doc", "max_query_length", "max_doc_length")
        for name in lengths:
            if getattr(self, name) is not None:
                raise unsupported_parameter(
                    name, "documents are cut to what the model reads; leave it out"
                )


class RerankUsage(msgspec.Struct, frozen=True):
    """Tokens of the query with each document; Jina's name, and OpenAI's."""

    total_tokens: int
    prompt_tokens: int


class BilledUnits(msgspec.Struct, frozen=True):
    """What Cohere would charge for."""

    search_units: int = 1


class ApiVersion(msgspec.Struct, frozen=True):
    """Whose shape it is."""

    version: Literal["2"] = "2"


class TokensRead(msgspec.Struct, frozen=True):
    """As Cohere counts them."""

    input_tokens: int


class RerankMeta(msgspec.Struct, frozen=True):
    """What Cohere's clients read."""

    tokens: TokensRead
    api_version: ApiVersion = ApiVersion()
    billed_units: BilledUnits = BilledUnits()


class Ranked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document's place: `index` is that in the request."""

    index: int
    relevance_score: float
    document: TextDocument | None = None


class Reranked(msgspec.Struct, frozen=True):
    """The response of /v1/rerank, the most relevant document first."""

    id: str
    model: str
    results: list[Ranked]
    usage: RerankUsage
    meta: RerankMeta
    object: Literal["list"] = "list"
