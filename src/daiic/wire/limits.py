"""The bounds within which an endpoint works."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    `path_mtu` is the largest UDP payload sent; 1200 passes everywhere (RFC
    9000, section 14). `loopback_mtu` takes its place towards a process on this
    machine once one of that size has got there.

    Messages being reassembled or not yet acknowledged stay under `memory`
    together, and under `peer_memory` each way for one peer: one that comes in
    and does not fit is not acknowledged and so comes again later, one that is
    to go out and does not fit is not queued.

    `max_control` is the largest HEARTBEAT, CANCEL or ERROR.

    `amplification` is how many times the bytes that came from it an address
    gets that has not shown that it receives, where that is asked for.
    """

    path_mtu: int = 1200
    loopback_mtu: int = 61440
    max_message: int = 256 * MIB
    max_control: int = 64 << 10
    memory: int = 512 * MIB
    peer_memory: int = 384 * MIB
    max_window: int = 4 * MIB
    give_up: float = 8.0
    reassembly_timeout: float = 30.0
    peer_idle: float = 120.0
    max_peers: int = 16384
    max_sessions: int = 4096
    max_clock_skew: float = 60.0
    amplification: int = 3


@dataclass(slots=True)
class MemoryUse:
    """Bytes of messages being reassembled or not yet acknowledged, all peers together.

    `freed` counts those that no longer are, since the start.
    """

    used: int = 0
    freed: int = 0

    def free(self, size: int) -> None:
        """Give `size` bytes back."""
        self.used -= size
        self.freed += size
