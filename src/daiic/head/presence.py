"""What a head answers a client that asks: its state, and which heads its workers report to.

Heads do not know of each other. Workers report to all of them, and say so, so
a client that knows one learns of the others.
"""

from collections import Counter
from collections.abc import Iterable

from daiic.head.limits import LIMITS
from daiic.head.worker import Worker
from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import is_loopback, numeric
from daiic.wire.messages import Address


def presence(workers: Iterable[Worker], closed: bool, asker: Address) -> pb.Presence:
    """Return this head's answer to the client at `asker`; once `closed` it takes no tasks."""
    return pb.Presence(
        version=VERSION,
        state=pb.DRAINING if closed else pb.READY,
        heads=_heads(workers, asker),
    )


def _heads(workers: Iterable[Worker], asker: Address) -> list[str]:
    # On another machine, a loopback address means that machine's own head.
    local = is_loopback(asker)
    named: Counter[str] = Counter()
    for worker in workers:
        worker_local = is_loopback(worker.address)
        for head in set(worker.heartbeat.heads):
            address = numeric(head)
            if address is not None and (not is_loopback(address) or (local and worker_local)):
                named[head] += 1
    return [head for head, _ in named.most_common(LIMITS.heads_told)]
