"""A head that answers as a test tells it to, over the real protocol, without workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.events import Event, Message
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)

Script = Callable[[pb.Task], AsyncIterator[pb.Result]]


def text_model(name: str = "stub-chat") -> pb.ModelStatus:
    return pb.ModelStatus(name=name, kind=pb.TEXT, state=pb.LOADED, rate=100)


def one_worker() -> pb.ClusterStatus:
    """A cluster of one CPU worker with a model of each kind."""
    heartbeat = pb.Heartbeat(
        worker_id="w1",
        name="stub",
        state=pb.READY,
        backend=pb.CPU,
        device="AMD EPYC",
        ram=pb.Memory(total=8 << 30, free=5 << 30),
        models=[
            text_model(),
            pb.ModelStatus(name="stub/image", kind=pb.IMAGE, state=pb.LOADED),
            pb.ModelStatus(name="stub-embed", kind=pb.EMBEDDING, state=pb.LOADED),
        ],
        slots=32,
    )
    status = pb.ClusterStatus(queue_size=1024, version="test")
    status.workers.add(heartbeat=heartbeat, address="127.0.0.1:7727")
    return status


class ScriptedHead:
    """Runs `script` for every task; a `TaskError` from it becomes an ERROR.

    `tasks` are those that came, `cancelled` the ids of those that clients gave up.
    """

    def __init__(self) -> None:
        self.status = one_worker()
        self.script: Script = echo
        self.tasks: list[pb.Task] = []
        self._came = asyncio.Condition()
        self.cancelled = asyncio.Queue[int]()
        self._running: dict[int, asyncio.Task[None]] = {}

    async def open(self) -> None:
        self._socket = await MeshSocket.open("127.0.0.1:0", on_events=self._on_events)
        self.address = format_address(self._socket.local_address)

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await self._socket.close(drain=0)

    async def received(self, number: int) -> None:
        """Wait until `number` tasks have come."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.tasks) >= number)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Message):
                continue
            if event.type == MessageType.TASK:
                task = pb.Task.FromString(event.payload)
                if task.id not in self._running:
                    run = asyncio.ensure_future(self._run(event, task))
                    self._running[task.id] = run
                    run.add_done_callback(lambda _, gone=task.id: self._running.pop(gone))
            elif event.type == MessageType.CANCEL:
                number = pb.Cancel.FromString(event.payload).id
                if run := self._running.get(number):
                    run.cancel()
                    self.cancelled.put_nowait(number)

    async def _run(self, message: Message, task: pb.Task) -> None:
        if task.WhichOneof("work") == "status":
            self._send(message, pb.Result(id=task.id, final=True, status=self.status))
            return
        async with self._came:
            self.tasks.append(task)
            self._came.notify_all()
        index = 0
        try:
            async for part in self.script(task):
                part.id, part.index, part.worker_id = task.id, index, "w1"
                index += 1
                self._send(message, part)
        except TaskError as error:
            payload = error.to_wire(task.id).SerializeToString()
            self._socket.send(message.peer, MessageType.ERROR, payload)

    def _send(self, message: Message, part: pb.Result) -> None:
        self._socket.send(message.peer, MessageType.RESULT, part.SerializeToString())


async def echo(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Say the last message, or the prompt, word by word; one image or vector for each asked for."""
    work = task.WhichOneof("work")
    if work == "text":
        said = task.text.messages[-1].content if task.text.messages else task.text.prompt
        words = said.split(" ")
        for number, word in enumerate(words):
            yield pb.Result(text=word if number == 0 else f" {word}", tokens=[number])
        yield pb.Result(
            final=True,
            finish_reason=pb.FINISH_REASON_STOP,
            usage=pb.Usage(prompt_tokens=7, completion_tokens=len(words)),
        )
    elif work == "image":
        for done in (1, 2):
            yield pb.Result(progress=pb.Progress(phase="steps", done=done, total=2))
        seeds = [(task.image.seed + number) % 2**64 for number in range(task.image.n)]
        yield pb.Result(final=True, images=[pb.Image(png=PNG, seed=seed) for seed in seeds])
    elif work == "embed":
        yield pb.Result(
            final=True,
            embeddings=[pb.Embedding(values=[0.5, -1.25, len(text)]) for text in task.embed.inputs],
            usage=pb.Usage(prompt_tokens=3),
        )


def failing(code: pb.ErrorCode, message: str = "no", remedy: str = "do else") -> Script:
    """Return a script that ends every task with an error."""

    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        raise TaskError(code, message, remedy)
        yield

    return script


def after_two_words(then: Callable[[], Awaitable[None]]) -> Script:
    """Return a script that says "one two" and then awaits `then`."""

    async def script(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="one", tokens=[1])
        yield pb.Result(text=" two", tokens=[2])
        await then()
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)

    return script
