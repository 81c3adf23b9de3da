"""The machines that hold parts of a model which this worker leads."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import split_host_port
from daiic.worker.limits import LIMITS
from daiic.worker.sharding.plan import Member, Plan
from daiic.worker.sharding.tunnel import Tunnel, TunnelError, free_port

ROUNDS = 3
"""Times that a way is measured; the shortest counts."""
REACH = 3.0
"""Seconds in which a member's machine must be reached."""
LOOK = 5.0
"""Seconds between two looks at whether it still is."""
TRIES = 3
"""Looks in a row that must fail before a member is lost."""
BUSY = 10.0
"""Seconds in which a member's rpc-server must attend to this leader, or it has another."""
NO_COMMAND = b"\xff"
"""What no rpc-server knows: one that is free hangs up."""

log = structlog.get_logger()


@dataclass(slots=True)
class Lead:
    """What this worker needs to lead: who it is, the tunnels' secret, what it measured of its ways.

    Without a cluster key nothing is `encrypted` in earnest, and groups stay on this machine.
    Slices are computed over `interface`, which is protected, with workers that are `like` this one.
    """

    worker_id: str
    name: str
    secret: bytes = field(repr=False)
    encrypted: bool
    interface: str = ""
    like: str = ""
    links: dict[str, pb.ShardLink] = field(default_factory=dict)

    def measured(self, worker_id: str, rtt: float, bytes_per_second: float) -> None:
        """Remember the way to a worker."""
        self.links.pop(worker_id, None)
        self.links[worker_id] = pb.ShardLink(
            worker_id=worker_id, rtt_ms=rtt * 1000, bytes_per_second=bytes_per_second
        )
        for oldest in list(self.links)[: -LIMITS.shard_members]:
            del self.links[oldest]


class Group:
    """Tunnels to all members of a plan; `endpoints` are their ends on this machine."""

    def __init__(
        self, lead: Lead, plan: Plan, ports: list[int], rtts: dict[str, float], tunnel: Tunnel
    ) -> None:
        self.plan = plan
        self.endpoints = [f"127.0.0.1:{port}" for port in ports]
        self._lost = ""
        self._lead = lead
        self._tunnel = tunnel
        self._rtts = rtts
        self._watch = asyncio.create_task(self._look())

    @classmethod
    async def form(cls, lead: Lead, plan: Plan, *, lending: bool = True) -> "Group":
        """Open the tunnels, to rpc-servers if the members are `lending` memory.

        Raises:
            TaskError: WORKER_LOST if a member is not reached or has another leader;
                UNSUPPORTED without stunnel.
        """
        rtts = {}
        for member in plan:
            rtt = await _rtt(member.address)
            if rtt is None:
                raise TaskError(
                    pb.WORKER_LOST,
                    f"{member.name or member.worker_id} is not reached at {member.address}",
                    "another group is formed without it",
                )
            rtts[member.worker_id] = rtt
        ports: list[int] = []
        while len(ports) < len(plan):
            if (port := free_port()) not in ports:
                ports.append(port)
        to = {port: member.address for port, member in zip(ports, plan, strict=True)}
        try:
            tunnel = await Tunnel.connect(to, lead.secret)
        except TunnelError as error:
            raise TaskError(pb.UNSUPPORTED, str(error), "use another worker") from None
        group = cls(lead, plan, ports, rtts, tunnel)
        try:
            await asyncio.gather(
                *(
                    _attends(member, port)
                    for port, member in zip(ports, plan, strict=True)
                    if lending
                )
            )
        except BaseException:
            await group.close()
            raise
        log.info("leading a group", members={member.name: member.bytes for member in plan})
        return group

    def moved(self, size: int, seconds: float) -> None:
        """Tell that loading brought `size` bytes to the members, one after the other."""
        for member in self.plan:
            self._lead.measured(member.worker_id, self._rtts[member.worker_id], size / seconds)

    @property
    def broken(self) -> str:
        """Why it cannot go on, empty while it can; a head finds the id of a lost member in it."""
        if self._lost:
            return self._lost
        child = self._tunnel.child
        return "" if child.alive else f"stunnel has ended: {child.last_words()}"

    async def _look(self) -> None:
        """Look after the members; TCP may take minutes to notice a cut cable."""
        failures = dict.fromkeys(self.plan, 0)
        while not self._lost:
            await asyncio.sleep(LOOK)
            rtts = await asyncio.gather(*(_rtt(member.address, rounds=1) for member in self.plan))
            for member, rtt in zip(self.plan, rtts, strict=True):
                failures[member] = failures[member] + 1 if rtt is None else 0
                if failures[member] >= TRIES:
                    self._lost = f"{member.worker_id} is no longer reached at {member.address}"
                    log.error("a member of a group is lost", member=member.name)

    async def close(self) -> None:
        """End the tunnels."""
        self._watch.cancel()
        await self._tunnel.close()


async def _attends(member: Member, port: int) -> None:
    """Raise a TaskError if the rpc-server of `member`, behind `port` of loopback, is busy.

    It attends to one leader at a time, and leaves another waiting for as long as that one stays.
    """
    try:
        async with asyncio.timeout(BUSY):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(NO_COMMAND)
                await reader.read(1)
            finally:
                writer.close()
    except TimeoutError:
        raise TaskError(
            pb.WORKER_LOST,
            f"{member.name or member.worker_id} lends its memory to another worker now",
            "another group is formed without it, or with it when that one has left",
        ) from None
    except OSError:
        return  # what is wrong with the tunnel shows when llama-server needs it


async def _rtt(address: str, rounds: int = ROUNDS) -> float | None:
    """Return the seconds of the way to `address` and back, `None` if nobody listens there."""
    host, port = split_host_port(address)
    best = None
    for _ in range(rounds):
        began = time.perf_counter()
        try:
            async with asyncio.timeout(REACH):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return None
        took = time.perf_counter() - began
        best = took if best is None else min(best, took)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return best
