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

    A TASK has at most `task` bytes, as JSON `json_task`; all that wait or run
    have `tasks_memory`. Of an answer, `ahead` parts are kept while an earlier
    one is missing. They take at most `ahead_bytes` for one task, `ahead_memory`
    for all. `delivered` is kept of an answer so that another worker can
    continue it.

    A worker has a `heartbeat` of that size, with that number of `models`,
    `heads`, `tags`, `cards` and `slots`; each `name` and `detail` in it has that length,
    and each model that number of `capabilities`. A worker tells of `shards` ways
    to others and parts of a model; a group has `members` besides its lead. The heartbeats of all
    `workers` together take `heartbeats_memory`.

    At most `clients` are known, and `remembered_ids` of their finished tasks;
    `client_name` characters of `Task.client` count. `idle_shares` are kept of
    clients with nothing in the queue. A client is told of `heads_told` heads,
    and an error names `named_models`. `incarnations` of each worker and
    `stopped` workers are remembered, and `read_blocks` of what each worker has read.
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
    cards: int = 64
    shards: int = 64
    members: int = 16
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
    read_blocks: int = 1024


LIMITS = HeadLimits()
