"""A head that answers as a test tells it to, over the real protocol, without workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.events import Event, Message
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import MeshSocket
from support.processes.daemon import PATIENCE

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
            pb.ModelStatus(name="stub-rerank", kind=pb.RERANKING, state=pb.LOADED),
        ],
        slots=32,
    )
    status = pb.ClusterStatus(queue_size=1024, version="test")
    status.workers.add(heartbeat=heartbeat, address="127.0.0.1:7727")
    return status


def able_worker() -> pb.ClusterStatus:
    """The same with models of the kinds that came later, and all that models can do."""
    status = one_worker()
    models = status.workers[0].heartbeat.models
    models.add(name="stub-hear", kind=pb.TRANSCRIPTION, state=pb.LOADED)
    models.add(name="stub-voice", kind=pb.SPEECH, state=pb.LOADED, voices=["ann"])
    abilities = {
        pb.TEXT: [pb.CHAT, pb.COMPLETE, pb.SEE, pb.TOOLS, pb.SCHEMA, pb.SAMPLING, pb.TOKENS],
        pb.IMAGE: [pb.PAINT, pb.EDIT, pb.FORMATS],
        pb.EMBEDDING: [pb.EMBED, pb.TOKENS, pb.DIMENSIONS, pb.PROMPTS],
        pb.TRANSCRIPTION: [pb.HEAR],
        pb.SPEECH: [pb.SPEAK],
        pb.RERANKING: [pb.RERANK],
    }
    for model in models:
        model.capabilities.extend(abilities[model.kind])
        model.downloaded = model.pinned = True
    return status


class ScriptedHead:
    """Runs `script` for every task; a `TaskError` from it becomes an ERROR.

    Without a script the test itself takes each `task` and answers it, part by part. `tasks` are
    those that came, `cancelled` the ids of those that clients gave up, `client` who spoke last,
    `presence` what it answers to a client's HEARTBEAT, `status_questions` how often it
    was asked for its status.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.status = one_worker()
        self.script = script
        self.tasks: list[pb.Task] = []
        self.status_questions = 0
        self.cancelled = asyncio.Queue[int]()
        self.client: Address = ()
        self.presence = pb.Presence(state=pb.READY)
        self._came = asyncio.Condition()
        self._untaken = asyncio.Queue[pb.Task]()
        self._running: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._socket = await MeshSocket.open("127.0.0.1:0", on_events=self._on_events)
        self.address = format_address(self._socket.local_address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Be gone; it may be called twice."""
        for task in self._running.values():
            task.cancel()
        await self._socket.close(drain=0)

    async def received(self, number: int) -> None:
        """Wait until `number` tasks have come."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.tasks) >= number)

    async def task(self) -> pb.Task:
        """Return the next task that no script answers."""
        return await asyncio.wait_for(self._untaken.get(), PATIENCE)

    def has_tasks(self) -> bool:
        """Return whether a task waits for the test."""
        return not self._untaken.empty()

    def answer(self, task: pb.Task, index: int, **fields: object) -> None:
        """Send one part to the client that spoke last."""
        part = pb.Result(id=task.id, index=index, **fields)
        self.send(MessageType.RESULT, part.SerializeToString())

    def fail(self, task: pb.Task, code: pb.ErrorCode) -> None:
        """Send an ERROR to the client that spoke last."""
        error = pb.Error(id=task.id, code=code, message="no", remedy="do otherwise")
        self.send(MessageType.ERROR, error.SerializeToString())

    def send(self, kind: MessageType, payload: bytes, to: Address | None = None) -> None:
        """Send anything, to the client that spoke last unless another is named."""
        self._socket.send(to or self.client, kind, payload)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Message):
                continue
            self.client = event.peer
            if event.message_type == MessageType.TASK:
                self._begin(event, pb.Task.FromString(event.payload))
            elif event.message_type == MessageType.HEARTBEAT:
                assert event.payload == b""
                self.send(MessageType.HEARTBEAT, self.presence.SerializeToString())
            elif event.message_type == MessageType.CANCEL:
                number = pb.Cancel.FromString(event.payload).id
                run = self._running.get(number)
                if run is not None:
                    run.cancel()
                if run is not None or self.script is None:
                    self.cancelled.put_nowait(number)

    def _told(self, asked: pb.StatusTask) -> pb.ClusterStatus:
        """Return of `status` what everybody is told, and what `asked` wants to know beyond it."""
        told = pb.ClusterStatus()
        told.CopyFrom(self.status)
        if not asked.tasks:
            told.ClearField("tasks")
        if told.HasField("policy") and not asked.policy:
            told.policy.ClearField("text")
        if asked.explain != told.explanation.number:
            told.ClearField("explanation")
        return told

    def _begin(self, message: Message, task: pb.Task) -> None:
        if self.script is None:
            self._untaken.put_nowait(task)
        elif task.id not in self._running:
            run = asyncio.ensure_future(self._run(message.peer, task, self.script))
            self._running[task.id] = run
            run.add_done_callback(lambda _: self._running.pop(task.id))

    async def _run(self, client: Address, task: pb.Task, script: Script) -> None:
        def send(part: pb.Result) -> None:
            self.send(MessageType.RESULT, part.SerializeToString(), client)

        if task.WhichOneof("work") == "status":
            self.status_questions += 1
            send(pb.Result(id=task.id, final=True, status=self._told(task.status)))
            return
        async with self._came:
            self.tasks.append(task)
            self._came.notify_all()
        index = 0
        try:
            async for part in script(task):
                part.id, part.index, part.worker_id = task.id, index, "w1"
                index += 1
                send(part)
        except TaskError as error:
            self.send(MessageType.ERROR, error.to_wire(task.id).SerializeToString(), client)


async def echo(task: pb.Task) -> AsyncIterator[pb.Result]:
    """Say the last message, or the prompt, word by word; one image or vector for each asked for.

    Of documents the shortest are the best, of recordings all say "one two".
    """
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
    elif work == "load":
        yield pb.Result(progress=pb.Progress(phase="load", done=1, total=2))
        yield pb.Result(final=True)
    elif work == "image":
        media = pb.Media(data=PNG, type=task.image.type)
        for done in (1, 2):
            yield pb.Result(progress=pb.Progress(phase="steps", done=done, total=2))
        for number in range(task.image.previews):
            yield pb.Result(previews=[pb.Preview(number=number, media=media)])
        form = {"media": media} if task.image.type else {"png": PNG}
        seeds = [(task.image.seed + number) % 2**64 for number in range(task.image.n)]
        yield pb.Result(final=True, images=[pb.Image(seed=seed, **form) for seed in seeds])
    elif work == "embed":
        yield pb.Result(
            final=True,
            embeddings=[
                pb.Embedding(values=[0.5, -1.25, length])
                for length in (
                    *(len(text) for text in task.embed.inputs),
                    *(len(one.tokens) for one in task.embed.token_inputs),
                )
            ],
            usage=pb.Usage(prompt_tokens=3),
        )
    elif work == "manage":
        yield pb.Result(final=True)
    elif work == "transcribe":
        yield pb.Result(
            text="one two",
            segments=[pb.Segment(end=1.5, text="one two", words=[pb.Word(text="one", end=0.5)])],
            language="en",
            seconds=1.5,
        )
        yield pb.Result(final=True, usage=pb.Usage(prompt_tokens=3, completion_tokens=2))
    elif work == "speak":
        yield pb.Result(speech=pb.Speech(samples=b"\0\1" * 2400, rate=24_000), tokens=[0])
        yield pb.Result(final=True, usage=pb.Usage(prompt_tokens=3, completion_tokens=2))
    elif work == "rerank":
        yield pb.Result(
            final=True,
            scores=[1 / (1 + len(text)) for text in task.rerank.documents],
            usage=pb.Usage(prompt_tokens=5),
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
