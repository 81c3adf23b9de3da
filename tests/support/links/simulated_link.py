"""A network without sockets or clock: endpoints joined by a seeded link in simulated time."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Delivered, Event, Message, Unreachable
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import Address, MessageType
from support.links.lossy_relay import Conditions

EPOCH = 1_800_000_000_000_000
STUCK = 100_000


@dataclass
class Node:
    """One endpoint of the network and what it has reported."""

    link: "SimulatedLink"
    address: Address
    endpoint: Endpoint
    events: list[Event] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    @property
    def delivered(self) -> list[Delivered]:
        return [event for event in self.events if isinstance(event, Delivered)]

    @property
    def unreachable(self) -> list[Unreachable]:
        return [event for event in self.events if isinstance(event, Unreachable)]

    def send(
        self, to: "Node", payload: bytes, message_type: MessageType = MessageType.TASK
    ) -> int | None:
        return self.endpoint.send(to.address, message_type, payload, self.link.now)

    def receive(self, datagram: bytes, sender: Address) -> None:
        self.endpoint.datagram_received(datagram, sender, self.link.now)

    def flush(self) -> list[tuple[bytes, Address]]:
        """Return the datagrams that the node wants to send now."""
        self.events += self.endpoint.take_events()
        datagrams = list(self.endpoint.datagrams_to_send(self.link.now))
        self.events += self.endpoint.take_events()
        return datagrams


class SimulatedLink:
    """Carries the nodes' datagrams under `conditions`, one second of its time in no time.

    `rate` (bytes a second) and `queue` (bytes) make it a bottleneck that drops what overflows.
    `host` is the address of all nodes, which differ in their ports. What is for a node in `deaf`
    gets lost.
    """

    def __init__(
        self,
        conditions: Conditions | None = None,
        seed: int = 1,
        *,
        rate: float = float("inf"),
        queue: int = 1 << 30,
        host: str = "10.0.0.1",
    ) -> None:
        self.conditions = conditions or Conditions()
        self.now = 1000.0
        self.nodes: dict[Address, Node] = {}
        self.overflows = 0
        self.deaf: set[Address] = set()
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, bytes, Address, Address]] = []
        self._number = 0
        self._rate = rate
        self._queue = queue
        self._host = host
        self._free_at: dict[Address, float] = {}

    def node(
        self,
        limits: Limits | None = None,
        key: ClusterKey | None = None,
        validate_addresses: bool = False,
    ) -> Node:
        """Add a node."""
        address = (self._host, 1 + len(self.nodes))
        return self._put(address, limits, key, validate_addresses)

    def restart(self, node: Node, limits: Limits | None = None) -> Node:
        """Replace `node` with a new process at the same address."""
        return self._put(node.address, limits, None)

    def _put(
        self,
        address: Address,
        limits: Limits | None,
        key: ClusterKey | None,
        validate_addresses: bool = False,
    ) -> Node:
        endpoint = Endpoint(
            limits or Limits(), self.wall_clock, key, validate_addresses=validate_addresses
        )
        self.nodes[address] = Node(self, address, endpoint)
        return self.nodes[address]

    def wall_clock(self) -> int:
        return EPOCH + int(self.now * 1e6)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until `until` or for `seconds`; return whether `until` came true."""
        end = self.now + seconds
        for node in self.nodes.values():
            self._flush(node)
        still = 0
        while not until():
            timeouts = [node.endpoint.next_timeout() for node in self.nodes.values()]
            at = min(
                [t for t in timeouts if t is not None]
                + ([self._under_way[0][0]] if self._under_way else []),
                default=end,
            )
            if at >= end:
                self.now = end
                return until()
            still = still + 1 if at <= self.now else 0
            assert still < STUCK, "an endpoint asks to be called again and again"
            self.now = max(self.now, at)
            self._deliver()
            for node, timeout in zip(self.nodes.values(), timeouts, strict=True):
                if timeout is not None and timeout <= self.now:
                    self._flush(node)
        return True

    def _deliver(self) -> None:
        got: dict[Address, Node] = {}
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, datagram, sender, to = heapq.heappop(self._under_way)
            node = self.nodes.get(to)
            if node is not None:
                node.receive(datagram, sender)
                got[to] = node
        for node in got.values():
            self._flush(node)

    def _flush(self, node: Node) -> None:
        for datagram, to in node.flush():
            self.carry(datagram, node.address, to)

    def carry(self, datagram: bytes, sender: Address, to: Address) -> None:
        """Send `datagram` over the link."""
        conditions, chance = self.conditions, self._random.random
        if to in self.deaf or len(datagram) > conditions.largest or chance() < conditions.loss:
            return
        starts = max(self.now, self._free_at.get(to, 0.0))
        if (starts - self.now) * self._rate > self._queue:
            self.overflows += 1
            return
        queued = starts + len(datagram) / self._rate - self.now
        self._free_at[to] = self.now + queued
        for _ in range(2 if chance() < conditions.duplicate else 1):
            copy = datagram
            if chance() < conditions.corrupt:
                changed = bytearray(copy)
                changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
                copy = bytes(changed)
            wait = queued + conditions.delay + conditions.jitter * (2 * chance() - 1)
            if chance() < conditions.reorder:
                wait += max(conditions.delay + conditions.jitter, 0.002)
            self._number += 1
            heapq.heappush(self._under_way, (self.now + wait, self._number, copy, sender, to))
