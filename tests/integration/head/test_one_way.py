"""Links that pass one way only: the head hears a worker that does not hear it."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, resolve
from daiic.wire.messages import MessageType
from support.links.lossy_relay import Conditions, LossyRelay
from support.models import endless_tiny
from support.peers.cast import Cast
from support.peers.scripted_peer import ScriptedPeer, ScriptedWorker
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

ERROR, RESULT, TASK = MessageType.ERROR, MessageType.RESULT, MessageType.TASK
TOKENS = 1000


async def relay_to(head: HeadProcess, stack: AsyncExitStack) -> LossyRelay:
    relay = await LossyRelay.start(await resolve(head.address), Conditions(largest=1 << 16))
    return await stack.enter_async_context(relay)


async def hold_back(worker: WorkerProcess) -> None:
    """Give `worker` a tenth of the time, so that an answer lasts on a fast machine, too."""
    try:
        while True:
            worker.signal(signal.SIGSTOP)
            await asyncio.sleep(0.27)
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(0.03)
    finally:
        worker.signal(signal.SIGCONT)


async def knows(client: ScriptedPeer, worker: ScriptedWorker) -> bool:
    """Return whether the head has `worker` in its registry."""
    await client.settle()
    known = {status.heartbeat.worker_id for status in client.status.workers}
    return worker.heartbeat.worker_id in known


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model whose answers are as long as may be."""
    folder = tmp_path_factory.mktemp("models")
    endless_tiny.write(folder / "endless", folder / "unused.gguf")
    (folder / "unused.gguf").unlink()
    return folder


@pytest.mark.rule("attempt-failed")
async def test_answer_of_a_worker_that_hears_the_head_no_more_goes_on_at_another(
    models: Path, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        head = await stack.enter_async_context(HeadProcess())
        relays: dict[str, LossyRelay] = {}
        processes: dict[str, WorkerProcess] = {}
        for name in ("one", "other"):
            relay = await relay_to(head, stack)
            worker = WorkerProcess(
                heads=format_address(relay.address),
                models=["endless"],
                models_dir=models,
                state_dir=tmp_path / name,
                allow_downloads=False,
                threads=1,
            )
            await stack.enter_async_context(worker)
            relays[worker.worker_id] = relay
            processes[worker.worker_id] = worker
        client = await stack.enter_async_context(ClusterClient([head.address]))
        await head.wait_for_workers(2)
        task = pb.Task(
            model="endless",
            stream=True,
            text=pb.TextTask(prompt="1", max_tokens=TOKENS, temperature=0),
        )
        expected = [token for part in [p async for p in client.run(task)] for token in part.tokens]
        assert len(expected) == TOKENS
        tokens: list[int] = []
        workers: list[str] = []
        slow: asyncio.Task[None] | None = None
        async for part in client.run(task):
            if not workers:
                relays[part.worker_id].deaf = True
                slow = asyncio.create_task(hold_back(processes[part.worker_id]))
            if part.worker_id not in workers:
                workers.append(part.worker_id)
            tokens.extend(part.tokens)
        assert slow is not None
        slow.cancel()
        assert tokens == expected
        assert len(workers) == 2


@pytest.mark.rule("unreachable", "deaf")
async def test_worker_that_did_not_acknowledge_a_task_gets_no_more_until_it_answers(
    head: HeadProcess, cast: Cast
) -> None:
    async with AsyncExitStack() as stack:
        relay = await relay_to(head, stack)
        deaf = await ScriptedWorker.open(format_address(relay.address))
        stack.push_async_callback(deaf.close)
        await deaf.register(cast.heartbeat())
        client = await cast.client(head)
        relay.deaf = True
        client.send(TASK, cast.task(1))
        await client.settle()
        able = await cast.worker(head)
        moved = await able.next(TASK)  # once the other has not acknowledged it for 8 s
        client.send(TASK, cast.task(2, worker_id=deaf.heartbeat.worker_id))
        assert (await client.next(ERROR)).id == 2
        await able.answer(moved, "done")
        assert (await client.next(RESULT)).text == "done"
        assert not deaf.waiting(TASK)
        assert not await knows(client, deaf)
        relay.deaf = False
        async with asyncio.timeout(PATIENCE):
            while not await knows(client, deaf):
                await asyncio.sleep(0.1)
        client.send(TASK, cast.task(3, worker_id=deaf.heartbeat.worker_id))
        await deaf.answer(await deaf.next(TASK), "back")
        assert (await client.next(RESULT)).text == "back"
