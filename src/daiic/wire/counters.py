"""What an endpoint counts: traffic, and every reason to drop a datagram."""

from collections import Counter
from dataclasses import dataclass, field, fields

from daiic.wire.messages import MessageType


@dataclass(slots=True)
class Counters:
    """Totals since start; drops are counted here instead of logged one by one."""

    datagrams_sent: int = 0
    datagrams_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    retransmissions: int = 0
    duplicates: int = 0
    dropped_malformed: int = 0
    dropped_unknown_type: int = 0
    dropped_forged: int = 0
    dropped_replayed: int = 0
    dropped_clock_skew: int = 0
    dropped_over_memory: int = 0
    dropped_oversized: int = 0
    dropped_peer_limit: int = 0
    refused_over_memory: int = 0
    expired_reassemblies: int = 0
    unreachable: int = 0
    frames_sent: Counter[int] = field(default_factory=Counter)
    frames_received: Counter[int] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, int]:
        """Return every total under a flat name, frames as e.g. `frames_sent_task`."""
        flat: dict[str, int] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int):
                flat[item.name] = value
            else:
                for message_type in MessageType:
                    flat[f"{item.name}_{message_type.name.lower()}"] = value[message_type]
        return flat
