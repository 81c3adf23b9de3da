"""The clients and workers that one test puts before a head."""

import contextlib
import itertools
import secrets
from typing import Any

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_peer import ScriptedPeer, ScriptedWorker
from support.processes.head_process import HeadProcess

NUMBERS = itertools.count()


class Cast:
    """Clients and workers of one test, with a model that no other test uses."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self.model = f"model-{next(NUMBERS)}"

    async def client(self, head: HeadProcess) -> ScriptedPeer:
        """Return a new client."""
        client = await ScriptedPeer.open(head.address)
        self._stack.push_async_callback(client.close)
        return client

    async def socket(self, head: HeadProcess) -> ScriptedWorker:
        """Return a worker that says nothing yet."""
        worker = await ScriptedWorker.open(head.address)
        self._stack.push_async_callback(worker.close)
        return worker

    async def worker(self, head: HeadProcess, **fields: Any) -> ScriptedWorker:
        """Return a new worker that has the model; `fields` are those of its heartbeat."""
        worker = await self.socket(head)
        await worker.register(self.heartbeat(**fields))
        return worker

    def heartbeat(self, **fields: Any) -> pb.Heartbeat:
        """Return what such a worker says."""
        defaults: dict[str, Any] = {
            "worker_id": f"worker-{next(NUMBERS)}",
            "incarnation": secrets.randbits(63),
            "state": pb.READY,
            "slots": 4,
            "models": [pb.ModelStatus(name=self.model, kind=pb.TEXT, state=pb.LOADED)],
        }
        return pb.Heartbeat(**(defaults | fields))

    def task(self, task_id: int = 1, **fields: Any) -> pb.Task:
        """Return a task for the model."""
        defaults: dict[str, Any] = {
            "model": self.model,
            "stream": True,
            "text": pb.TextTask(prompt="count", max_tokens=8),
        }
        return pb.Task(id=task_id, **(defaults | fields))
