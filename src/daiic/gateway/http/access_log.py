"""One HTTP request as logs and metrics see it."""

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.types import Scope

from daiic.gateway.http.client import NOBODY, Client
from daiic.gateway.usage.amounts import Amounts

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


OTHER = "other"
"""The endpoint of paths where there is none."""

_current: ContextVar["AccessLogEntry | None"] = ContextVar("answered", default=None)


@dataclass(slots=True)
class AccessLogEntry:
    """Filled in while the request is handled.

    `endpoint` is the route's name. `used` is what its tasks took of each model,
    and `failed` says that one of them did.
    """

    id: str
    started: float = field(default_factory=time.perf_counter)
    endpoint: str = OTHER
    client: Client = NOBODY
    model: str | None = None
    status: int = 0
    failed: bool = False
    used: dict[str, Amounts] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope) -> "AccessLogEntry":
        """Return the entry of the request that `scope` belongs to."""
        entry: AccessLogEntry = scope["state"]["access_log_entry"]
        return entry

    @staticmethod
    def current() -> "AccessLogEntry | None":
        """Return the entry of the request that is being answered here, `None` if there is none."""
        return _current.get()

    @contextlib.contextmanager
    def being_answered(self) -> Iterator[None]:
        """Make this the `current` one, also in tasks of asyncio that begin meanwhile."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)

    def attach(self, scope: Scope) -> None:
        """Make this the entry of the request that `scope` belongs to."""
        scope["state"]["access_log_entry"] = self


def request_id(proposed: str | None) -> str:
    """Return the client's own id if it is safe in a log, else a new one."""
    if proposed and _SAFE_ID.fullmatch(proposed):
        return proposed
    return f"req-{secrets.token_hex(8)}"
