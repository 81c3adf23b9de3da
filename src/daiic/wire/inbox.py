"""The receiving side of one peer: duplicates, acknowledgements, reassembly."""

from daiic.wire.counters import Counters
from daiic.wire.frames import (
    CHUNK_HEADER,
    MAX_SACK_RANGES,
    Frame,
    Range,
    encode_sack,
    ranges_of,
)
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import CONTROL, HEADER, MessageType
from daiic.wire.reassembly import ChunkHeader, Reassembly
from daiic.wire.sequence import RecentSequences


class Inbox:
    """Decides which message is new; collects what is to be acknowledged."""

    __slots__ = (
        "_counters",
        "_largest",
        "_last_ranges",
        "_limits",
        "_memory",
        "_reassemblies",
        "_recent",
        "_refused",
        "_to_acknowledge",
        "buffered",
    )

    def __init__(self, limits: Limits, memory: MemoryUse, counters: Counters) -> None:
        self._limits = limits
        self._largest = min(limits.max_message, limits.memory, limits.peer_memory)
        self._memory = memory
        self._counters = counters
        self._recent = RecentSequences()
        self._reassemblies: dict[int, Reassembly] = {}
        self._to_acknowledge: list[int] = []
        self._last_ranges: list[Range] = []
        self._refused: set[int] = set()
        self.buffered = 0

    def is_new(self, sequence: int, now: float) -> bool:
        """Acknowledge the message `sequence`; return whether it is here for the first time."""
        self._to_acknowledge.append(sequence)
        if sequence in self._recent:
            self._counters.duplicates += 1
            return False
        self._recent.add(sequence, now)
        return True

    def chunk(self, sequence: int, payload: Frame, now: float) -> tuple[int, int, bytes] | None:
        """Accept a CHUNK; return type, sequence and payload of a message that it completes."""
        if len(payload) <= CHUNK_HEADER.size:
            self._counters.dropped_malformed += 1
            return None
        header: ChunkHeader = CHUNK_HEADER.unpack_from(payload)
        first = header[0]
        reassembly = self._reassemblies.get(first) or self._begin(sequence, header, now)
        if reassembly is None:
            return None
        added = reassembly.add(header, sequence, memoryview(payload)[CHUNK_HEADER.size :], now)
        if added is None:
            self._counters.dropped_malformed += 1
            if reassembly.empty():
                self._end(first)
            return None
        self._to_acknowledge.append(sequence)
        if not added:
            self._counters.duplicates += 1
        if not reassembly.complete():
            return None
        self._end(first)
        self._recent.add(first, now)
        return header[3], first, reassembly.message()

    def _begin(self, sequence: int, header: ChunkHeader, now: float) -> Reassembly | None:
        first, total, _, message_type = header
        if first in self._recent:
            self._to_acknowledge.append(sequence)
            self._counters.duplicates += 1
            return None
        largest = self._limits.max_control if message_type in CONTROL else self._largest
        if total > largest:
            # Acknowledged all the same: sent again it would be no smaller.
            self._to_acknowledge.append(sequence)
            self._counters.dropped_oversized += 1
            return None
        if (
            self._memory.used + total > self._limits.memory
            or self.buffered + total > self._limits.peer_memory
        ):
            self._refused.add(first)
            self._counters.dropped_over_memory += 1
            return None
        try:
            reassembly = Reassembly(header, now)
        except ValueError:
            self._counters.dropped_malformed += 1
            return None
        self._reassemblies[first] = reassembly
        self.buffered += total
        self._memory.used += total
        return reassembly

    def _end(self, first: int) -> None:
        size = len(self._reassemblies.pop(first))
        self.buffered -= size
        self._memory.free(size)

    def acknowledgements(self, timestamp: int, extended: bool) -> list[bytes]:
        """Return the BUSYs and the ACKs or, for an `extended` peer, SACKs that are due.

        Each SACK also repeats the ranges of the one before while there is
        room, so that a lost one costs nothing.
        """
        if self._refused:
            refused, self._refused = self._refused, set()
            self._counters.frames_sent[MessageType.BUSY] += len(refused)
            return [
                *(HEADER.pack(MessageType.BUSY, first, timestamp, 0) for first in refused),
                *self.acknowledgements(timestamp, extended),
            ]
        due = self._to_acknowledge
        if not due:
            return []
        self._to_acknowledge = []
        if not extended or (len(due) == 1 and not self._reassemblies):
            acks = [
                HEADER.pack(MessageType.ACK, sequence, timestamp, 0)
                for sequence in dict.fromkeys(due)
            ]
            self._counters.frames_sent[MessageType.ACK] += len(acks)
            return acks
        ranges = ranges_of(due)
        sacks = []
        for start in range(0, len(ranges), MAX_SACK_RANGES):
            part = ranges[start : start + MAX_SACK_RANGES]
            repeated = self._last_ranges[: MAX_SACK_RANGES - len(part)]
            sacks.append(encode_sack(part + repeated, timestamp))
        self._last_ranges = ranges[-MAX_SACK_RANGES // 2 :]
        self._counters.frames_sent[MessageType.SACK] += len(sacks)
        return sacks

    def expire(self, now: float) -> None:
        """Drop messages of which nothing has come for `Limits.reassembly_timeout`."""
        oldest = now - self._limits.reassembly_timeout
        for first, reassembly in list(self._reassemblies.items()):
            if reassembly.touched_at < oldest:
                self._end(first)
                self._counters.expired_reassemblies += 1

    def forget_recent(self) -> None:
        """Take what comes from now on for new, even if it came before."""
        self._recent.clear()

    def clear(self) -> None:
        """Drop every message that is not whole yet."""
        for first in list(self._reassemblies):
            self._end(first)
