"""Throws random and mutated datagrams at an endpoint; nothing may escape and nothing may grow.

By hand: `python tests/fuzz/datagrams.py --count 10000000`. The test suite runs a smaller count.
"""

import argparse
import json
import random
import resource
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daiic.wire.counters import Counters
from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Message
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import HEADER_SIZE, Address, MessageType
from daiic.wire.sealing import Sealer

VECTORS = Path(__file__).parents[1] / "vectors" / "wire.json"
LIMITS = Limits(
    max_message=4 * MIB,
    memory=16 * MIB,
    peer_memory=8 * MIB,
    max_peers=256,
    max_sessions=64,
    reassembly_timeout=5.0,
    peer_idle=20.0,
)
PEERS = 1000
STEP = 0.0002
"""Seconds of simulated time between two datagrams."""
SETTLE = 200_000
"""Datagrams after which memory is taken as the measure for the rest."""
GROWTH = 4 * MIB
"""Bytes that may be held more at the end than after SETTLE datagrams, buffered ones aside."""


@dataclass
class Outcome:
    """What a run came to."""

    count: int
    seconds: float
    dropped: int
    events: int
    sent: int
    peak_buffered: int
    growth: int


NO_DATAGRAMS = {
    "about": "words about the file",
    "now": "the time at which the cases are",
    "replay": "counters alone",
    "json": "payloads alone",
}
"""What the vectors hold besides datagrams."""


def datagrams_in(vectors: dict[str, Any]) -> list[bytes]:
    """Return every datagram of the test vectors, of which each group has some."""
    found = {name: _datagrams_in(group) for name, group in vectors.items()}
    unread = {name for name, datagrams in found.items() if not datagrams} ^ NO_DATAGRAMS.keys()
    if unread:
        raise ValueError(f"groups of {VECTORS.name} that are not read right: {sorted(unread)}")
    return [datagram for datagrams in found.values() for datagram in datagrams]


def _datagrams_in(value: Any, name: str = "") -> list[bytes]:
    if isinstance(value, dict):
        return [d for key, part in value.items() for d in _datagrams_in(part, key)]
    if isinstance(value, list):
        return [d for part in value for d in _datagrams_in(part, name)]
    if name in ("datagram", "datagrams", "received", "sealed"):
        return [bytes.fromhex(value)]
    return []


class Fuzzer:
    """Makes datagrams: noise, noise behind a good header, and mutated good ones."""

    def __init__(self, seed: int, now: int, good: list[bytes]) -> None:
        self._random = random.Random(seed)
        self._now = now
        self._good = good

    def datagram(self) -> bytes:
        """Return the next one."""
        rnd = self._random
        kind = rnd.random()
        if kind < 0.1:
            return rnd.randbytes(rnd.choice((0, 1, 16, 17, 18, 40, 57, 200, 1200)))
        if kind < 0.4:
            payload = rnd.randbytes(rnd.choice((0, 0, 3, 8, 11, 12, 64, 300)))
            return self._header(rnd.choice(list(MessageType)), payload)
        if kind < 0.6:
            return self._chunk()
        return self._mutated(rnd.choice(self._good))

    def _header(self, message_type: int, payload: bytes) -> bytes:
        rnd = self._random
        sequence = rnd.choice((0, 1, 0xFFFFFFFF, rnd.getrandbits(32)))
        return struct.pack(">BIQI", message_type, sequence, self._now, len(payload)) + payload

    def _chunk(self) -> bytes:
        rnd = self._random
        first, index = rnd.randrange(64) * 1000, rnd.randrange(12)
        total = rnd.choice((0, 1, 300, 3000, 3000, 3000, 70_000, 1_000_000, 2**32 - 1))
        size = rnd.choice((256, 256, 1172, 0, 65535))
        message_type = rnd.choice((1, 2, 3, 3, 3, 0x21, 0x24))
        length = max(0, min(size, total - index * size))
        payload = struct.pack(">IIHB", first, total, size, message_type) + bytes(min(length, 1200))
        return struct.pack(">BIQI", 0x21, first + index, self._now, len(payload)) + payload

    def _mutated(self, datagram: bytes) -> bytes:
        rnd = self._random
        changed = bytearray(datagram)
        for _ in range(rnd.choice((0, 1, 1, 2, 8))):
            change = rnd.random()
            at = rnd.randrange(len(changed) + 1)
            if change < 0.6 and at < len(changed):
                changed[at] ^= 1 << rnd.randrange(8)
            elif change < 0.7:
                changed[at:at] = rnd.randbytes(rnd.randrange(1, 9))
            elif change < 0.8:
                del changed[at : at + rnd.randrange(1, 9)]
            elif change < 0.9:
                changed[at:at] = rnd.choice(self._good)
            elif at + 4 <= len(changed):
                changed[at : at + 4] = rnd.choice((b"\0\0\0\0", b"\xff\xff\xff\xff"))
        if len(changed) >= HEADER_SIZE and rnd.random() < 0.8:
            changed[13:17] = (len(changed) - HEADER_SIZE).to_bytes(4, "big")
        return bytes(changed)


def memory() -> int:
    """Return the bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def run(count: int, sealed: bool, seed: int) -> Outcome:
    """Feed `count` datagrams to one endpoint that answers every message.

    `sealed`: it has a key, and every other datagram comes from someone who has it too.

    Raises:
        AssertionError: if a bound does not hold; anything else that escapes the endpoint.
    """
    vectors = json.loads(VECTORS.read_text("utf-8"))
    key = ClusterKey(bytes.fromhex(vectors["sealing"]["key"])) if sealed else None
    clock = int(vectors["now"])
    fuzzer = Fuzzer(seed, clock, datagrams_in(vectors))
    endpoint = Endpoint(LIMITS, lambda: clock, key, validate_addresses=True)
    insider = Sealer(key, LIMITS, Counters()) if key else None
    now = 1000.0
    events = sent = peak = baseline = 0
    given = Counter[Address]()  # what each address may get without a key, less what it got
    pick = random.Random(seed + 1)
    started = time.perf_counter()
    for number in range(count):
        now += STEP
        sender = ("192.0.2.1", pick.randrange(PEERS))
        datagram = fuzzer.datagram()
        length = int.from_bytes(datagram[13:17], "big")
        if insider is not None and number % 2 and len(datagram) == HEADER_SIZE + length:
            datagram = insider.seal(datagram)
        given[sender] += LIMITS.amplification * len(datagram)
        endpoint.datagram_received(datagram, sender, now)
        peak = max(peak, endpoint.buffered_bytes)
        if number % 16 == 0:
            for event in endpoint.take_events():
                events += 1
                if isinstance(event, Message):
                    endpoint.send(event.peer, MessageType.RESULT, b"answer" * 40, now)
            for datagram, to in endpoint.datagrams_to_send(now):
                sent += 1
                given[to] -= len(datagram)
                assert sealed or given[to] >= 0, "more than what came in somebody's name goes there"
                assert len(datagram) <= LIMITS.path_mtu
        if number == min(SETTLE, count // 2):
            baseline = memory()
        assert 0 <= endpoint.buffered_bytes <= LIMITS.memory
    seconds = time.perf_counter() - started
    growth = memory() - baseline
    assert growth < GROWTH + LIMITS.memory, f"memory grew by {growth} bytes"
    while not endpoint.idle():
        now += 0.05
        list(endpoint.datagrams_to_send(now))
    now += LIMITS.reassembly_timeout + LIMITS.peer_idle + 60
    for _ in range(5):
        now += LIMITS.reassembly_timeout
        list(endpoint.datagrams_to_send(now))
    assert endpoint.buffered_bytes == 0
    assert endpoint.next_timeout() is None, "a peer is still known after all went silent"
    dropped = sum(v for k, v in endpoint.counters.as_dict().items() if k.startswith("dropped_"))
    return Outcome(count, seconds, dropped, events, sent, peak, growth)


def main() -> None:
    """Run half of --count without and half with a key, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, sealed in (("without a key", False), ("with a key", True)):
        print(f"{name}: {run(options.count // 2, sealed, options.seed)}", flush=True)


if __name__ == "__main__":
    main()
