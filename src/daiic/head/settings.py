"""The settings of `daiic-head`, and which of them can change while it runs."""

from typing import Annotated

import msgspec

from daiic.service.settings import DaemonSettings, HostPort, Seconds, StatusAddress

Count = Annotated[int, msgspec.Meta(ge=1, title="a whole number above 0")]


class HeadSettings(DaemonSettings, frozen=True, kw_only=True):
    """The head of a DAIIC cluster: gives each task to a worker."""

    listen: Annotated[HostPort, msgspec.Meta(description="UDP address for workers and clients")] = (
        "127.0.0.1:7717"
    )
    http_listen: StatusAddress = "127.0.0.1:7718"
    worker_timeout: Annotated[
        Seconds, msgspec.Meta(description="seconds without a heartbeat until a worker is lost")
    ] = 10.0
    queue_size: Annotated[
        Count, msgspec.Meta(description="tasks that may wait for a worker; more are refused")
    ] = 1024
    task_deadline: Annotated[
        Seconds, msgspec.Meta(description="seconds until a task fails; a task may set fewer")
    ] = 600.0
    max_attempts: Annotated[
        Count, msgspec.Meta(description="attempts, each on another worker, until a task fails")
    ] = 3


CHANGEABLE = frozenset(
    {
        "worker_timeout",
        "queue_size",
        "task_deadline",
        "max_attempts",
        "drain_timeout",
        "log_level",
    }
)
"""What SIGHUP can change; the rest needs a restart."""
