"""What every endpoint uses: the cluster, what is known about it, and the gateway's own state."""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from daiic.client import TaskClient
from daiic.errors import TaskError
from daiic.gateway.bench.store import BenchStore
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.body_memory import BodyMemory
from daiic.gateway.http.client import ANONYMOUS, Client
from daiic.gateway.http.errors import ApiError
from daiic.gateway.media.reader import MediaReader
from daiic.gateway.monitoring.activity import ActivityLog
from daiic.gateway.monitoring.cluster_view import ClusterView, KnownModel
from daiic.gateway.settings import GatewaySettings
from daiic.gateway.task_errors import from_task
from daiic.gateway.usage.ledger import Ledger
from daiic.wire import daiic_pb2 as pb


@dataclass(slots=True)
class Gateway:
    """One for the whole process."""

    settings: GatewaySettings
    cluster: TaskClient
    view: ClusterView
    activity: ActivityLog
    benches: BenchStore
    usage: Ledger
    bodies: BodyMemory = field(default_factory=BodyMemory)
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def task(self, model: str, *, stream: bool, client: Client) -> pb.Task:
        """Return a task for `model`, which may be one with an adapter, without its work.

        Heads share the workers among our clients. Unless the settings say that
        they are told names, they learn nothing about `client` except whether it
        is the same one as before.
        """
        deadline = min(int(self.settings.request_timeout * 1000), 2**32 - 1)
        base, adapter = self.view.parts(model)
        return pb.Task(
            model=base,
            adapters=[pb.Adapter(name=adapter)] if adapter else [],
            stream=stream,
            deadline_ms=deadline,
            client=self._told_as(client),
        )

    def _told_as(self, client: Client) -> str:
        if self.settings.name_clients and client.account != ANONYMOUS:
            return client.name
        return hashlib.blake2b(client.id.encode(), digest_size=8, key=self._salt).hexdigest()

    @contextlib.contextmanager
    def media(self, client: Client) -> Iterator[MediaReader]:
        """Give what reads the images and recordings of a request of `client`.

        What is fetched of them counts as the bodies of requests do, until this ends.
        """
        with self.bodies.of(client) as fetched:
            yield MediaReader(self.settings.allowed_media_hosts, fetched.count)

    def models(self) -> dict[str, KnownModel]:
        """Return the models that can be used, by their names.

        Raises:
            ApiError: if no head tells them.
        """
        reason = self.view.problem
        if reason is None and self.view.status is None:
            reason = TaskError(
                pb.HEAD_UNREACHABLE, "the head has not answered yet", "try again soon"
            )
        if reason is not None:
            raise self.explain(reason)
        return {model.name: model for model in self.usable}

    def model(self, name: str) -> KnownModel:
        """Return the model that is meant by `name`.

        Raises:
            ApiError: if there is none, or no head tells.
        """
        known = self.models().get(self.view.meant(name))
        if known is None:
            raise self.explain(TaskError(pb.MODEL_NOT_FOUND, f"there is no model {name}"))
        return known

    @property
    def usable(self) -> list[KnownModel]:
        """The models that the request which is being answered may name."""
        entry = AccessLogEntry.current()
        usable = self.view.usable
        if entry is None:
            return usable
        return [model for model in usable if entry.client.limits.allows(model.name)]

    def explain(self, error: TaskError) -> ApiError:
        """Return what a client is told about a task that ended with `error`."""
        return from_task(error, [m.name for m in self.usable], self.view.retry_after())
