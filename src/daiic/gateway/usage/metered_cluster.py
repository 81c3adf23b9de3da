"""The cluster as clients' requests reach it: what each uses is within its rights, and counted.

Every task that an endpoint runs for a client passes here, so no endpoint needs to count.
"""

import contextlib
from collections.abc import AsyncGenerator

from daiic.client import TaskClient
from daiic.errors import TaskError
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.key_limits import WEIGHTS
from daiic.gateway.http.rate_limits import RateLimits
from daiic.gateway.usage.amounts import Amounts
from daiic.wire import daiic_pb2 as pb

BYTES_PER_TOKEN = 4
"""Of a prompt whose tokens are not known, because its answer was broken off."""


class MeteredCluster(TaskClient):
    """Counts for the request that is being answered, if there is one."""

    def __init__(self, cluster: TaskClient, rate_limits: RateLimits) -> None:
        self._cluster = cluster
        self._rate_limits = rate_limits

    async def bursts(self, task: pb.Task) -> AsyncGenerator[list[pb.Result], None]:
        """See `TaskClient`.

        Raises:
            ApiError: 403 if the client may not use the task's model.
        """
        entry = AccessLogEntry.current()
        if entry is None:
            async with contextlib.aclosing(self._cluster.bursts(task)) as bursts:
                async for burst in bursts:
                    yield burst
            return
        model = _model_of(task)
        if not entry.client.limits.allows(model):
            raise _not_allowed(model, entry.client.limits.models)
        task.weight = WEIGHTS[entry.client.limits.priority]
        meter = _Meter(task, entry, self._rate_limits)
        try:
            async with contextlib.aclosing(self._cluster.bursts(task)) as bursts:
                async for burst in bursts:
                    meter.count(burst)
                    yield burst
        except TaskError:
            entry.failed = True
            raise
        finally:
            meter.close()
            entry.used.setdefault(model, Amounts()).add(meter.amounts)


class _Meter:
    """Counts one task, and at once what limits are of."""

    def __init__(self, task: pb.Task, entry: AccessLogEntry, rate_limits: RateLimits) -> None:
        self._task = task
        self._has_tokens = task.WhichOneof("work") == "text"
        self._client = entry.client
        self._rate_limits = rate_limits
        # Without limits of tokens it is enough to count them once.
        self._spends_at_once = rate_limits.limits_tokens(entry.client)
        self._spent = 0
        self._begun = False
        self._complete = False
        self.amounts = Amounts()

    def count(self, burst: list[pb.Result]) -> None:
        self._begun = True
        for part in burst:
            if part.started_over:
                self.amounts = Amounts()
            if not self._has_tokens:
                self.amounts.count_made(part)
            if part.final and part.HasField("usage"):
                self._complete = True
                self.amounts.count_usage(part.usage)
            elif self._has_tokens:
                self.amounts.completion_tokens += len(part.tokens)
        if self._spends_at_once:
            self._spend()

    def close(self) -> None:
        if self._has_tokens and self._begun and not self._complete:
            self.amounts.prompt_tokens = _prompt_bytes(self._task.text) // BYTES_PER_TOKEN
        self._spend()

    def _spend(self) -> None:
        more = self.amounts.tokens - self._spent
        if more:
            self._rate_limits.spend(self._client, more)
            self._spent += more


def _prompt_bytes(text: pb.TextTask) -> int:
    sizes = [len(text.prompt), BYTES_PER_TOKEN * len(text.prompt_tokens)]
    for message in text.messages:
        sizes.append(len(message.content))
        sizes += [len(part.text) for part in message.parts]
    return sum(sizes)


def _model_of(task: pb.Task) -> str:
    """Return what clients call the model, which may have adapters."""
    return ":".join([task.model, *(adapter.name for adapter in task.adapters)])


def _not_allowed(model: str, patterns: tuple[str, ...]) -> ApiError:
    return ApiError(
        403,
        f"this API key may not use {model}, only {', '.join(patterns)}: choose one of those, or "
        "have the operator allow it with `daiic apikey set`",
        type="permission_error",
        param="model",
        code="model_not_allowed",
    )
