"""Workers that the head knows to be alike, and that stall when a test says so."""

import asyncio
from collections.abc import Iterator

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Script, Step, WorkerStub, count
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

TOKENS = 8
TASK = pb.Task(model="count", stream=True, text=pb.TextTask(max_tokens=TOKENS))
WHOLE = "".join(f"{number} " for number in range(TOKENS))


def stalling_after(parts: int) -> Script:
    """Return a script that counts, but for the tasks that it stalls with after so many parts."""

    def script(task: pb.Task) -> Iterator[Step]:
        said = 0
        for step in count(task):
            if said == parts:
                yield 3600.0
            if isinstance(step, pb.Result):
                said += 1
                step.model.weights = "same"
            yield step

    return script


async def open_stub(head: HeadProcess, worker_id: str, weights: str = "same") -> WorkerStub:
    """Open a worker of which the head knows which model it has."""
    worker = await WorkerStub.open([head.address], worker_id=worker_id)
    for model in worker.heartbeat.models:
        model.identity.weights = weights
    worker.scripts["count"] = stalling_after(-1)
    worker.say()
    return worker


async def streamed(client: ClusterClient) -> tuple[str, list[str]]:
    """Return the text of an answer, and who made its parts."""
    text, workers = "", []
    async with asyncio.timeout(PATIENCE):
        async for part in client.run(TASK):
            text += part.text
            workers.append(part.worker_id)
    return text, workers


async def with_a_record(head: HeadProcess, client: ClusterClient) -> tuple[WorkerStub, WorkerStub]:
    """Return two workers of which the head knows how fast they begin."""
    first, second = await open_stub(head, "first"), await open_stub(head, "second")
    await head.wait_for_workers(2)
    while min(len(first.tasks), len(second.tasks)) < 40:
        answers = await asyncio.gather(*(streamed(client) for _ in range(8)))
        assert {text for text, _ in answers} == {WHOLE}
    return first, second
