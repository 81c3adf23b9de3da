"""Workers that are killed with tasks in flight, and their return."""

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess

STUB = Path(__file__).parents[2] / "support/peers/worker_stub.py"
HEARTBEAT_INTERVAL = 2.0
TOKENS = 60


def worker_process(
    head: HeadProcess, worker_id: str, interval: float = HEARTBEAT_INTERVAL
) -> Daemon:
    """A worker stub that runs in a process of its own."""
    return Daemon(sys.executable, STUB, heads=head.address, id=worker_id, interval=interval)


async def count_to(client: ClusterClient, tokens: int) -> tuple[str, set[str]]:
    """Stream a text; return it and the workers that made it."""
    task = pb.Task(model="count", stream=True, text=pb.TextTask(max_tokens=tokens))
    text, workers = "", set()
    async for part in client.run(task):
        text += part.text
        workers.add(part.worker_id)
    return text, workers


def numbers(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


@pytest.mark.rule("silent", "replaced", "worker-lost")
async def test_tasks_of_a_killed_worker_complete_on_the_other_and_it_leaves_the_registry():
    async with (
        HeadProcess() as head,
        worker_process(head, "doomed") as doomed,
        worker_process(head, "other"),
        ClusterClient([head.address]) as client,
    ):
        await head.wait_for_workers(2)
        streams = [asyncio.create_task(count_to(client, TOKENS)) for _ in range(20)]
        await asyncio.sleep(TOKENS * 0.02 / 2)
        await doomed.kill()
        killed_at = time.monotonic()
        texts = await asyncio.gather(*streams)
        assert {text for text, _ in texts} == {numbers(TOKENS)}
        moved = sum(workers == {"doomed", "other"} for _, workers in texts)
        assert moved == 10
        status = await head.wait_for_workers(1)
        gone_after = time.monotonic() - killed_at
        print(f"gone from the registry after {gone_after:.1f} s")
        assert gone_after < 10.0 + 1.5
        assert (status.tasks_done, status.tasks_moved) == (20, moved)

        async with worker_process(head, "doomed"):
            restarted_at = time.monotonic()
            await head.wait_for_workers(2)
            task = pb.Task(model="echo", worker_id="doomed", text=pb.TextTask(prompt="back"))
            answer = await client.answer(task)
            assert (answer.text, answer.worker_id) == ("back", "doomed")
            assert time.monotonic() - restarted_at < HEARTBEAT_INTERVAL


@pytest.mark.rule("unreachable", "worker-lost")
async def test_tasks_of_a_worker_that_hangs_complete_on_the_other_and_it_may_come_back():
    async with (
        HeadProcess() as head,
        worker_process(head, "hanging") as hanging,
        worker_process(head, "other"),
        ClusterClient([head.address]) as client,
    ):
        await head.wait_for_workers(2)
        streams = [asyncio.create_task(count_to(client, TOKENS)) for _ in range(10)]
        await asyncio.sleep(TOKENS * 0.02 / 2)
        hanging.signal(signal.SIGSTOP)
        texts = await asyncio.gather(*streams)
        assert {text for text, _ in texts} == {numbers(TOKENS)}
        assert sum(workers == {"hanging", "other"} for _, workers in texts) == 5
        await head.wait_for_workers(1)
        hanging.signal(signal.SIGCONT)
        await head.wait_for_workers(2)
        task = pb.Task(model="echo", worker_id="hanging", text=pb.TextTask(prompt="back"))
        assert (await client.answer(task)).text == "back"


async def test_head_that_was_stopped_takes_no_worker_for_silent():
    async with (
        HeadProcess(worker_timeout=1) as head,
        worker_process(head, "patient", interval=0.2),
        ClusterClient([head.address]) as client,
    ):
        await head.wait_for_workers(1)
        streams = [asyncio.create_task(count_to(client, TOKENS)) for _ in range(5)]
        await asyncio.sleep(TOKENS * 0.02 / 4)
        head.signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        head.signal(signal.SIGCONT)
        assert {text for text, _ in await asyncio.gather(*streams)} == {numbers(TOKENS)}
        status = await client.status()
        assert (status.tasks_moved, len(status.workers)) == (0, 1)
    assert "silent" not in head.log
