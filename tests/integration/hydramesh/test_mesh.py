"""HydraMesh in DCF's mesh: how near its workers are, and the nodes that it gives their roles."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from daiic.wire.messages import MessageType
from support.links.lossy_relay import Conditions, LossyRelay
from support.peers.dcf_node import HEALTHY, MESH, RELAY, UNREACHABLE, DcfNode, live
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

SHORT = pb.Task(model="echo", text=pb.TextTask(prompt="hello", max_tokens=20))
LONG = pb.Task(model="echo", text=pb.TextTask(prompt="hello", max_tokens=2000))


async def test_nodes_of_dcf_stay_in_the_mesh_and_see_nothing_of_the_cluster(
    hydramesh: heads.Head,
) -> None:
    async with (
        HeadProcess(kind=hydramesh, storage="none", mesh_node=5, worker_timeout=3) as head,
        ClusterClient([head.address]) as client,
    ):
        worker = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        with DcfNode(head.host_port, 7) as one, DcfNode(head.host_port, 9) as two:
            nodes = {
                one: [(5, HEALTHY, 1), (9, HEALTHY, 3)],
                two: [(5, HEALTHY, 2), (7, HEALTHY, 3), (8, UNREACHABLE, 1)],
            }
            await live(nodes, lambda: len(one.roles) > 2 and len(two.roles) > 2)
            # All have two neighbours; it is nearest to those of the head.
            assert one.roles[-1] == (7, RELAY, 5)
            assert two.roles[-1] == (9, RELAY, 5)
            assert one.pongs and all(timestamp == 1000 + number for number, timestamp in one.pongs)
            for node in nodes:
                assert set(node.heard) <= {MESH, MessageType.PONG, MessageType.PING}
            status = await client.status()
            told = [(node.node, node.role, node.master, node.peers) for node in status.nodes]
            assert told == [(7, pb.RELAY, 5, 2), (9, pb.RELAY, 5, 3)]
            assert await head.metric("daiic_head_nodes") == 2

            # One leaves; the other keeps its place.
            del nodes[two]
            before = len(one.roles)
            nodes[one] = [(5, HEALTHY, 1)]
            end = time.monotonic() + 4
            await live(nodes, lambda: time.monotonic() > end and len(one.roles) > before)
            assert [node.node for node in (await client.status()).nodes] == [7]
        await worker.close(polite=False)


async def test_nobody_without_the_key_is_a_node(hydramesh: heads.Head, tmp_path: Path) -> None:
    key = ClusterKey.generate()
    key.save(tmp_path / "key")
    async with HeadProcess(
        kind=hydramesh, storage="none", cluster_key_file=tmp_path / "key"
    ) as head:
        with DcfNode(head.host_port, 7) as node:
            end = time.monotonic() + 2
            await live({node: [(0, HEALTHY, 1)]}, lambda: time.monotonic() > end)
            assert not node.heard
        async with ClusterClient([head.address], key) as client:
            assert not (await client.status()).nodes


async def standing(
    client: ClusterClient, holds: Callable[[dict[str, pb.WorkerStatus]], bool]
) -> None:
    """Wait until what the head says of its workers `holds`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            workers = (await client.status()).workers
            if holds({worker.heartbeat.worker_id: worker for worker in workers}):
                return
            await asyncio.sleep(0.1)


@pytest.fixture
async def head(hydramesh: heads.Head) -> AsyncIterator[HeadProcess]:
    settings = {"group_threshold": 0.3, "worker_timeout": 60}
    async with HeadProcess(kind=hydramesh, storage="none", **settings) as head:
        yield head


async def test_short_tasks_stay_near_and_long_ones_go_everywhere(head: HeadProcess) -> None:
    far_link = Conditions(delay=0.25)
    async with (
        await LossyRelay.start(head.host_port, far_link) as relay,
        ClusterClient([head.address]) as client,
        contextlib.AsyncExitStack() as stubs,
    ):
        for name, address in (("far", relay.address), ("near", head.host_port)):
            stub = await WorkerStub.open([f"{address[0]}:{address[1]}"], worker_id=name)
            stubs.push_async_callback(stub.close, polite=False)
        await standing(
            client,
            lambda workers: (
                len(workers) == 2 and workers["far"].group > 0 and workers["near"].group == 0
            ),
        )

        async def served(task: pb.Task, count: int) -> Counter[str]:
            answers = [await client.answer(task) for _ in range(count)]
            return Counter(answer.worker_id for answer in answers)

        assert await served(SHORT, 12) == {"near": 12}
        assert await served(LONG, 12) == {"near": 6, "far": 6}

        # Who is out of reach gets nothing while another can be reached, until it answers again.
        relay.conditions = Conditions(loss=1.0)
        await standing(client, lambda workers: workers["far"].health == pb.UNREACHABLE)
        assert await served(LONG, 4) == {"near": 4}
        relay.conditions = far_link
        await standing(
            client,
            lambda workers: workers["far"].health == pb.HEALTHY and workers["far"].group > 0,
        )
        assert await served(LONG, 4) == {"near": 2, "far": 2}
