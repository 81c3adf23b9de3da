"""One HTTP request as logs and metrics see it."""

import re
import secrets
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from daiic.gateway.http.client import NOBODY, Client

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class AccessLogEntry:
    """Filled in while the request is handled; `endpoint` is the route's name."""

    id: str
    started: float = field(default_factory=time.perf_counter)
    endpoint: str = "other"
    client: Client = NOBODY
    model: str | None = None
    status: int = 0

    @classmethod
    def of(cls, scope: Scope) -> "AccessLogEntry":
        """Return the entry of the request that `scope` belongs to."""
        entry: AccessLogEntry = scope["state"]["access_log_entry"]
        return entry

    def attach(self, scope: Scope) -> None:
        """Make this the entry of the request that `scope` belongs to."""
        scope["state"]["access_log_entry"] = self


def request_id(proposed: str | None) -> str:
    """Return the client's own id if it is safe in a log, else a new one."""
    if proposed and _SAFE_ID.fullmatch(proposed):
        return proposed
    return f"req-{secrets.token_hex(8)}"
