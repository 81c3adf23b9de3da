"""A worker without a model: it says a prompt's words one by one, at a given pace."""

import asyncio
import contextlib

from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, resolve
from daiic.wire.events import Event, Message
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket

MODEL = "words"


class StubWorker:
    """Registers at every head. `tasks` are those that came, `cancelled` the ids of those given up.

    A prompt "large N" is answered with N bytes in one part, any other with its words, the next
    after `pace` seconds; a resumed task begins at `resume.index`.
    """

    def __init__(self) -> None:
        self.pace = 0.0
        self.slots = 512
        self.tasks: list[pb.Task] = []
        self.cancelled: list[int] = []
        self._running: dict[tuple[object, int], asyncio.Task[None]] = {}

    async def open(self, heads: list[str], key=None) -> None:
        self._socket = await MeshSocket.open("127.0.0.1:0", on_events=self._on_events, key=key)
        self._beating = asyncio.create_task(self._beat(heads))

    async def close(self) -> None:
        self._beating.cancel()
        for running in self._running.values():
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beating
        await self._socket.close(drain=0)

    async def _beat(self, heads: list[str]) -> None:
        addresses = [await resolve(head) for head in heads]
        heartbeat = pb.Heartbeat(
            worker_id="stub",
            incarnation=1,
            name="stub",
            state=pb.READY,
            backend=pb.CPU,
            models=[pb.ModelStatus(name=MODEL, kind=pb.TEXT, state=pb.LOADED, rate=1000)],
            slots=self.slots,
            heads=[format_address(address) for address in addresses],
        ).SerializeToString()
        while True:
            for address in addresses:
                self._socket.send(address, MessageType.HEARTBEAT, heartbeat)
            await asyncio.sleep(0.3)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Message):
                continue
            if event.type == MessageType.TASK:
                task = pb.Task.FromString(event.payload)
                key = (event.peer, task.id)
                if key not in self._running:
                    self.tasks.append(task)
                    self._running[key] = asyncio.ensure_future(self._run(event.peer, task))
            elif event.type == MessageType.CANCEL:
                number = pb.Cancel.FromString(event.payload).id
                running = self._running.get((event.peer, number))
                if running is not None and running.cancel():
                    self.cancelled.append(number)

    async def _run(self, head: object, task: pb.Task) -> None:
        prompt = task.text.prompt
        if prompt.startswith("large "):
            parts = [pb.Result(text="x" * int(prompt.split()[1]), tokens=[0])]
        else:
            words = prompt.split(" ")
            parts = [pb.Result(text=f"{word} ", tokens=[i]) for i, word in enumerate(words)]
        parts.append(pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP))
        for index in range(task.resume.index, len(parts)):
            part = parts[index]
            part.id, part.index, part.worker_id = task.id, index, "stub"
            self._socket.send(head, MessageType.RESULT, part.SerializeToString())
            if self.pace:
                await asyncio.sleep(self.pace)
