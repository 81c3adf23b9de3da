"""What every endpoint works with."""

import hashlib
import secrets
from dataclasses import dataclass, field

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.gateway.http.body_memory import BodyMemory
from daiic.gateway.http.errors import ApiError
from daiic.gateway.monitoring.activity import ActivityLog
from daiic.gateway.monitoring.cluster_view import KINDS, ClusterView
from daiic.gateway.settings import GatewaySettings
from daiic.gateway.task_errors import from_task
from daiic.wire import daiic_pb2 as pb


@dataclass(slots=True)
class Gateway:
    """The cluster, what is known about it, and what the gateway itself keeps."""

    settings: GatewaySettings
    cluster: ClusterClient
    view: ClusterView
    activity: ActivityLog
    bodies: BodyMemory = field(default_factory=BodyMemory)
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def task(self, model: str, kind: pb.ModelKind, *, stream: bool, client: str) -> pb.Task:
        """Return a task for `model`, without its work.

        Heads share the workers among our clients; they are told no more of
        `client` than whether it is the same one.

        Raises:
            ApiError: if `model` is known to be of another kind.
        """
        known = self.view.models.get(model)
        kinds = _SERVED_BY.get(kind, {kind})
        if known is not None and known.kind not in kinds | {pb.MODEL_KIND_UNSPECIFIED}:
            fitting = [m.name for m in self.view.usable if m.kind in kinds]
            raise ApiError(
                400,
                f"{model} is {_article(known.kind_name)} model, and this endpoint needs "
                f"{_article(KINDS[kind])} model: "
                + (f"try {', '.join(fitting)}" if fitting else "none is here"),
                param="model",
                code="wrong_model_kind",
            )
        deadline = min(int(self.settings.request_timeout * 1000), 2**32 - 1)
        digest = hashlib.blake2b(client.encode(), digest_size=8, key=self._salt)
        return pb.Task(model=model, stream=stream, deadline_ms=deadline, client=digest.hexdigest())

    def explain(self, error: TaskError) -> ApiError:
        """Return what a client is told about a task that ended with `error`."""
        return from_task(error, [m.name for m in self.view.usable], self.view.retry_after())


# Language models make embeddings too.
_SERVED_BY = {pb.EMBEDDING: {pb.EMBEDDING, pb.TEXT}}


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
