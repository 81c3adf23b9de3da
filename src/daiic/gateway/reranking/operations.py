"""The endpoints that rank documents, for the OpenAPI document."""

from daiic.gateway.openapi.operation import Operation
from daiic.gateway.reranking.routes import PATHS
from daiic.gateway.reranking.schema import Reranked, RerankRequest

OPERATIONS = tuple(
    Operation("post", path, "Rank documents", RerankRequest, answers=(Reranked,)) for path in PATHS
)
