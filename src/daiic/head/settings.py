"""The settings of `daiic-head`, and which of them can change while it runs."""

from typing import Annotated

import msgspec

from daiic.service.settings import HostPort, LogLevel, OptionalHostPort, Seconds

Count = Annotated[int, msgspec.Meta(ge=1, title="a whole number above 0")]


class HeadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Routes the tasks of a DAIIC cluster to its workers."""

    listen: Annotated[HostPort, msgspec.Meta(description="UDP address for workers and clients")] = (
        "127.0.0.1:7717"
    )
    cluster_key_file: Annotated[
        str, msgspec.Meta(description="key that all members share; `daiic keygen` makes one")
    ] = ""
    allow_unauthenticated: Annotated[
        bool, msgspec.Meta(description="serve beyond this machine without a cluster key")
    ] = False
    worker_timeout: Annotated[
        Seconds, msgspec.Meta(description="silence after which a worker is taken for lost")
    ] = 10.0
    queue_size: Annotated[
        Count, msgspec.Meta(description="tasks that may wait for a worker; more are refused")
    ] = 1024
    task_deadline: Annotated[
        Seconds, msgspec.Meta(description="longest life of a task; a task may ask for less")
    ] = 600.0
    max_attempts: Annotated[
        Count, msgspec.Meta(description="workers on which a task is tried before it fails")
    ] = 3
    drain_timeout: Annotated[
        Seconds, msgspec.Meta(description="time that accepted tasks have to finish at a stop")
    ] = 30.0
    http_listen: Annotated[
        OptionalHostPort, msgspec.Meta(description="address of /healthz, /readyz and /metrics")
    ] = "127.0.0.1:7718"
    log_level: LogLevel = "info"


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
