"""Workers that fail again and again are set aside, visibly, and are tried until they are well."""

import asyncio
from collections.abc import Callable

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub, broken, echo
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

TASK = pb.Task(model="echo", text=pb.TextTask(prompt="hello"))


async def ask_until(
    client: ClusterClient, worker_id: str, holds: Callable[[pb.WorkerStatus], bool]
) -> None:
    """Have tasks answered until what the head says of that worker `holds`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answers = await asyncio.gather(*(client.answer(TASK) for _ in range(4)))
            assert {answer.text for answer in answers} == {"hello"}
            status = await client.status()
            (worker,) = (w for w in status.workers if w.heartbeat.worker_id == worker_id)
            if holds(worker):
                return
            await asyncio.sleep(0.02)


async def test_no_task_is_lost_to_a_worker_that_fails_and_it_is_back_when_it_is_well(
    hydramesh: heads.Head,
) -> None:
    async with (
        HeadProcess(kind=hydramesh, storage="none", set_aside_pause=0.5) as head,
        ClusterClient([head.address]) as client,
    ):
        good = await WorkerStub.open([head.address], worker_id="good")
        bad = await WorkerStub.open([head.address], worker_id="bad")
        bad.scripts["echo"] = broken
        await head.wait_for_workers(2)

        await ask_until(client, "bad", lambda worker: worker.HasField("set_aside"))
        status = await client.status()
        (told,) = (worker.set_aside for worker in status.workers if worker.HasField("set_aside"))
        assert told.failures >= 3 and "in a row" in told.reason
        assert "worker set aside" in head.log
        _, metrics = await head.get("/metrics")
        assert "daiic_head_workers_set_aside 1" in metrics

        tried = len(bad.tasks)
        await ask_until(client, "bad", lambda worker: len(bad.tasks) > tried)
        bad.scripts["echo"] = echo
        await ask_until(client, "bad", lambda worker: not worker.HasField("set_aside"))
        assert "worker is well again" in head.log
        await good.close(polite=False)
        await bad.close(polite=False)


async def test_the_only_worker_that_could_run_a_task_gets_it_even_if_it_is_set_aside(
    hydramesh: heads.Head,
) -> None:
    async with (
        HeadProcess(kind=hydramesh, storage="none", set_aside_pause=300) as head,
        ClusterClient([head.address]) as client,
    ):
        only = await WorkerStub.open([head.address], worker_id="only")
        await head.wait_for_workers(1)
        for _ in range(3):
            with pytest.raises(TaskError, match="the stub broke"):
                await client.answer(pb.Task(model="broken", text=pb.TextTask(prompt="x")))
        (worker,) = (await client.status()).workers
        assert worker.set_aside.failures == 3
        assert (await client.answer(TASK)).text == "hello"
        (worker,) = (await client.status()).workers
        assert not worker.HasField("set_aside")
        await only.close(polite=False)
