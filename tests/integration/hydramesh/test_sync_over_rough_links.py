"""Heads get to the same state over links that lose, reorder and repeat what they say."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.links.lossy_relay import Conditions, LossyRelay
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.neighbours import agreed, hears, told, until

ROUGH = Conditions(loss=0.05, delay=0.02, jitter=0.015, reorder=0.1, duplicate=0.05)
BAD = Conditions(loss=0.2, delay=0.05, jitter=0.045, reorder=0.3, duplicate=0.2)
CUT = Conditions(loss=1.0)

State = dict[str, tuple[int, int, int]]
"""By the heads' ids: their workers, the tasks that wait there and those that run."""


class Cluster:
    """Three heads, each with a worker of two slots; all links between heads are relays."""

    def __init__(self, stack: AsyncExitStack, key: ClusterKey) -> None:
        self.key = key
        self.heads: list[HeadProcess] = []
        self.links: list[tuple[int, int, LossyRelay]] = []
        self._stack = stack
        self._clients: list[ClusterClient] = []
        self._tasks: list[list[asyncio.Task[pb.Result]]] = [[], [], []]

    async def start(self, kind: heads.Head, folder: Path, link: Conditions, seed: int) -> None:
        """Start all; each head is told only the relays to those that were started before it."""
        self.key.save(folder / "key")
        for number in range(3):
            peers = []
            for other, head in enumerate(self.heads):
                relay = await LossyRelay.start(head.host_port, link, seed=seed + len(self.links))
                await self._stack.enter_async_context(relay)
                self.links.append((other, number, relay))
                peers.append("{}:{}".format(*relay.address))
            head = HeadProcess(
                kind=kind,
                http_listen="",
                cluster_key_file=folder / "key",
                state_dir=folder / str(number),
                peers=",".join(peers),
            )
            self.heads.append(await self._stack.enter_async_context(head))
            stub = await WorkerStub.open(
                [head.address], worker_id=f"worker{number}", slots=2, key=self.key
            )
            self._stack.push_async_callback(stub.close)
            client = ClusterClient([head.address], self.key)
            self._clients.append(await self._stack.enter_async_context(client))

    def load(self, *counts: int) -> None:
        """Let so many tasks, which do not end by themselves, be at the heads."""
        for client, tasks, count in zip(self._clients, self._tasks, counts, strict=True):
            while len(tasks) > count:
                tasks.pop().cancel()
            while len(tasks) < count:
                tasks.append(asyncio.create_task(client.answer(pb.Task(
                    model="mute", text=pb.TextTask(prompt="x")))))  # fmt: skip

    def cut_off(self, number: int, link: Conditions) -> None:
        """Let the links of a head be so."""
        for one, other, relay in self.links:
            if number in (one, other):
                relay.conditions = link

    async def until_all_know(self, *counts: int) -> None:
        """Wait until every head tells that so many tasks are at the heads, and of one master."""
        own = [(await told(head, self.key))[0].id for head in self.heads]
        wanted: State = {
            one: (1, max(0, count - 2), min(2, count))
            for one, count in zip(own, counts, strict=True)
        }

        def known(found: list[pb.HeadStatus]) -> bool:
            return wanted == {one.id: (one.workers, one.queued, one.in_flight) for one in found}

        for head in self.heads:
            await until(head, known, self.key)
        await agreed(self.heads, self.key)

    def tally(self, what: str) -> int:
        return sum(getattr(relay.tally, what) for _, _, relay in self.links)

    async def end(self) -> None:
        self.load(0, 0, 0)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("link", "seed"), [(ROUGH, 1), (BAD, 100)], ids=["rough", "bad"])
async def test_heads_agree_over_a_bad_link_and_after_a_partition(
    hydramesh: heads.Head, tmp_path: Path, link: Conditions, seed: int
) -> None:
    async with AsyncExitStack() as stack:
        cluster = Cluster(stack, ClusterKey.generate())
        await cluster.start(hydramesh, tmp_path, link, seed)
        stack.push_async_callback(cluster.end)
        await agreed(cluster.heads, cluster.key)
        # What changes time and again gets everywhere, and what is late or repeated brings nothing
        # back that is over.
        for counts in ((5, 0, 1), (0, 3, 1), (2, 2, 2), (0, 0, 4), (3, 1, 0)):
            cluster.load(*counts)
            await cluster.until_all_know(*counts)
        cluster.cut_off(0, CUT)
        for head, count in zip(cluster.heads, (0, 1, 1), strict=True):
            await until(head, hears(count), cluster.key)
        # On both sides something else happens meanwhile.
        cluster.load(1, 0, 5)
        cluster.cut_off(0, link)
        await cluster.until_all_know(1, 0, 5)
        cluster.load(0, 0, 0)
        await cluster.until_all_know(0, 0, 0)
        for what in ("lost", "reordered", "duplicated"):
            assert cluster.tally(what) > 0


async def test_over_a_bad_link_a_worker_that_one_head_has_filled_gets_nothing_from_another(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    key = ClusterKey.generate()
    key.save(tmp_path / "key")
    async with AsyncExitStack() as stack:
        relays, clients, ours = [], [], []
        for number in range(2):
            head = HeadProcess(
                kind=hydramesh,
                http_listen="",
                cluster_key_file=tmp_path / "key",
                state_dir=tmp_path / str(number),
            )
            ours.append(await stack.enter_async_context(head))
            relay = await LossyRelay.start(head.host_port, BAD, seed=7 + number)
            relays.append(await stack.enter_async_context(relay))
            client = ClusterClient([head.address], key)
            clients.append(await stack.enter_async_context(client))
        # The worker, too, is at the other end of bad links, by whose addresses it names the heads.
        stub = await WorkerStub.open(
            ["{}:{}".format(*relay.address) for relay in relays], slots=1, key=key
        )
        stack.push_async_callback(stub.close)
        for head in ours:
            await until(head, hears(1), key)
        first = asyncio.create_task(
            clients[0].answer(pb.Task(model="mute", text=pb.TextTask(prompt="first")))
        )
        await until(ours[1], lambda found: found[1].in_flight == 1, key)
        second = asyncio.create_task(
            clients[1].answer(pb.Task(model="echo", text=pb.TextTask(prompt="second")))
        )
        await until(ours[1], lambda found: found[0].queued == 1, key)
        await asyncio.sleep(3)  # a waiting task is looked at many times a second
        assert [task.text.prompt for task in stub.tasks] == ["first"]
        first.cancel()
        assert (await asyncio.wait_for(second, PATIENCE)).text == "second"
