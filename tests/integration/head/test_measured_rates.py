"""The rate that a worker tells of a model decides who gets a task, so a bench is worth its time."""

import contextlib

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes.head_process import HeadProcess


async def test_tasks_go_to_the_worker_that_was_measured_to_be_faster(head: HeadProcess) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stubs: dict[str, WorkerStub] = {}
        for name in ("left", "right"):
            stubs[name] = stub = await WorkerStub.open(
                [head.address], worker_id=name, models={"echo": pb.LOADED}
            )
            stack.push_async_callback(stub.close)
        await head.wait_for_workers(2)
        client = await stack.enter_async_context(ClusterClient([head.address]))

        async def ask() -> str:
            task = pb.Task(model="echo", text=pb.TextTask(prompt="hello", max_tokens=64))
            return (await client.answer(task)).worker_id

        for fast, slow in (("left", "right"), ("right", "left")):
            for name, rate in ((fast, 100.0), (slow, 5.0)):
                stubs[name].heartbeat.models[0].rate = rate
                stubs[name].say()
            # A status that has both rates comes from a head that knows them.
            while await rates(client) != {fast: 100.0, slow: 5.0}:
                pass
            assert [await ask() for _ in range(4)] == [fast] * 4


async def rates(client: ClusterClient) -> dict[str, float]:
    beats = [worker.heartbeat for worker in (await client.status()).workers]
    return {beat.worker_id: beat.models[0].rate for beat in beats}
