"""The bounds within which a head works, whatever others send.

`queue_size`, `task_deadline`, `max_attempts` and `worker_timeout` are
settings; those of the wire are in `daiic.wire.limits`. docs/operations.md
says what happens at each.
"""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Sizes in bytes, lengths of names in characters.

    Of a TASK: `task` and, as JSON, `json_task`; `tasks_memory` is for all that
    wait or run. Of an answer: `ahead` are the parts kept while an earlier one
    is missing, `ahead_bytes` what they take of one task and `ahead_memory` of
    all; `delivered` is what has to be kept of one so that another worker could
    go on with it.

    Of a worker: `heartbeat`, its `models`, `heads`, `tags`, `slots`, and each
    `name`, `detail` and number of `capabilities`; `heartbeats_memory` is for all of the `workers`.

    `clients` are known at once, and `remembered_ids` of their finished tasks;
    of what one calls whoever it asks for, `client_name` characters count.
    `idle_shares` are kept of those who have nothing waiting. `heads_told` are
    those that a client is told of, `named_models` those that an error names.
    `incarnations` of a worker and `stopped` workers are remembered.
    """

    task: int = 32 * MIB
    json_task: int = 4 * MIB
    tasks_memory: int = 512 * MIB
    ahead: int = 2048
    ahead_bytes: int = 64 * MIB
    ahead_memory: int = 512 * MIB
    delivered: int = 64 * MIB
    heartbeat: int = 64 * KIB
    heartbeats_memory: int = 16 * MIB
    workers: int = 1024
    models: int = 512
    heads: int = 64
    tags: int = 64
    capabilities: int = 64
    slots: int = 4096
    name: int = 256
    detail: int = 512
    clients: int = 16384
    remembered_ids: int = 1 << 20
    client_name: int = 64
    idle_shares: int = 256
    heads_told: int = 16
    named_models: int = 20
    incarnations: int = 8
    stopped: int = 256


LIMITS = HeadLimits()
