"""A worker without a model, for tests and benches of everything around it.

It answers each task as the task's model says (`SCRIPTS`), in this process (`WorkerStub.open`) or
as one of its own (`python tests/support/peers/worker_stub.py --heads 127.0.0.1:7717`), which may be
killed or made to hang (SIGSTOP).
"""

import argparse
import asyncio
import random
import secrets
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping

import uvloop

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, resolve
from daiic.wire.events import Event, Message
from daiic.wire.keyfile import ClusterKey
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import MeshSocket

HEARTBEAT_INTERVAL = 2.0
TOKEN_INTERVAL = 0.02
SLOW = 0.5

Step = float | pb.Result | TaskError
"""Seconds to wait, a part of the answer (`id`, `index` and `worker_id` are filled in), an error."""
Script = Callable[[pb.Task], Iterator[Step]]


def echo(task: pb.Task) -> Iterator[Step]:
    """Answer at once with the prompt."""
    yield pb.Result(final=True, text=task.text.prompt, finish_reason=pb.FINISH_REASON_STOP)


def slow(task: pb.Task) -> Iterator[Step]:
    """Answer with the prompt after `SLOW` seconds."""
    yield SLOW
    yield from echo(task)


def count(task: pb.Task) -> Iterator[Step]:
    """Stream the numbers below `max_tokens`, going on where `resume` left off."""
    total = task.text.max_tokens
    for number in range(len(task.resume.tokens), total):
        yield TOKEN_INTERVAL
        yield pb.Result(text=f"{number} ", tokens=[number])
    yield pb.Result(
        final=True, finish_reason=pb.FINISH_REASON_LENGTH, usage=pb.Usage(completion_tokens=total)
    )


def words_every(pause: float) -> Script:
    """Return a script that says the prompt's words, the next after `pause` seconds."""

    def words(task: pb.Task) -> Iterator[Step]:
        said = [
            pb.Result(text=f"{word} ", tokens=[number])
            for number, word in enumerate(task.text.prompt.split(" "))
        ]
        said.append(pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP))
        for part in said[task.resume.index :]:
            yield part
            if pause and not part.final:
                yield pause

    return words


def large(task: pb.Task) -> Iterator[Step]:
    """Answer with `max_tokens` bytes in one part, and end with the next."""
    if task.resume.index == 0:
        yield pb.Result(text="x" * task.text.max_tokens, tokens=[0])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)


def picture(task: pb.Task) -> Iterator[Step]:
    """Answer with `width` times `height` bytes that follow from the seed."""
    yield pb.Result(final=True, images=[pb.Image(png=pixels(task.image), seed=task.image.seed)])


def mute(task: pb.Task) -> Iterator[Step]:
    """Never answer."""
    while True:
        yield 3600.0


def broken(task: pb.Task) -> Iterator[Step]:
    """Fail as a worker with a fault does."""
    yield TaskError(pb.INTERNAL, "the stub broke, as its model says", "use another model")


def refusing(task: pb.Task) -> Iterator[Step]:
    """Fail with an error that no other worker would avoid."""
    yield TaskError(pb.BAD_REQUEST, "the stub refused, as its model says", "use another model")


SCRIPTS: dict[str, Script] = {
    "echo": echo,
    "slow": slow,
    "count": count,
    "words": words_every(0.0),
    "large": large,
    "picture": picture,
    "mute": mute,
    "broken": broken,
    "refusing": refusing,
}


def pixels(task: pb.ImageTask) -> bytes:
    """Return what `picture` answers to `task`, whose seed is known."""
    return random.Random(task.seed).randbytes(task.width * task.height)


class WorkerStub:
    """One worker; `tasks` are those it was given, `cancelled` the ids of those it had to give up.

    A test may change `scripts`.
    """

    def __init__(self, heads: list[Address], heartbeat: pb.Heartbeat, interval: float) -> None:
        self.heartbeat = heartbeat
        self.tasks: list[pb.Task] = []
        self.cancelled: list[int] = []
        self.scripts = dict(SCRIPTS)
        self._heads = heads
        self._interval = interval
        self._running: dict[tuple[Address, int], asyncio.TimerHandle | None] = {}
        self._loop = asyncio.get_running_loop()
        self._socket: MeshSocket
        self._beat: asyncio.TimerHandle

    @classmethod
    async def open(
        cls,
        heads: Iterable[str],
        *,
        worker_id: str = "stub",
        models: Mapping[str, pb.ModelState] | None = None,
        slots: int = 32,
        listen: str = "127.0.0.1:0",
        interval: float = HEARTBEAT_INTERVAL,
        can_download: bool = False,
        key: ClusterKey | None = None,
    ) -> "WorkerStub":
        """Start; `models` are all of `SCRIPTS`, loaded, unless given with their states."""
        if models is None:
            models = dict.fromkeys(SCRIPTS, pb.LOADED)
        heartbeat = pb.Heartbeat(
            worker_id=worker_id,
            incarnation=secrets.randbits(63),
            name=worker_id,
            version="stub",
            state=pb.READY,
            backend=pb.CPU,
            device="none",
            models=[
                pb.ModelStatus(
                    name=name, state=state, kind=pb.IMAGE if name == "picture" else pb.TEXT
                )
                for name, state in models.items()
            ],
            can_download=can_download,
            slots=slots,
        )
        addresses = [await resolve(head) for head in heads]
        heartbeat.heads.extend(map(format_address, addresses))
        stub = cls(addresses, heartbeat, interval)
        stub._socket = await MeshSocket.open(listen, on_events=stub._on_events, key=key)
        stub._send_heartbeats()
        return stub

    @property
    def address(self) -> str:
        """Where it listens, as "host:port"."""
        return format_address(self._socket.local_address)

    def say(self, **changes: object) -> None:
        """Change fields of the heartbeat and send it now."""
        for name, value in changes.items():
            setattr(self.heartbeat, name, value)
        self._beat.cancel()
        self._send_heartbeats()

    async def close(self, *, polite: bool = True) -> None:
        """Stop; a polite one says so first."""
        if polite:
            self.say(state=pb.STOPPED)
        self._beat.cancel()
        for timer in self._running.values():
            if timer is not None:
                timer.cancel()
        self._running.clear()
        await self._socket.close(drain=0.5 if polite else 0.0)

    def _send_heartbeats(self) -> None:
        self.heartbeat.running = len(self._running)
        payload = self.heartbeat.SerializeToString()
        for head in self._heads:
            self._socket.send(head, MessageType.HEARTBEAT, payload)
        self._beat = self._loop.call_later(self._interval, self._send_heartbeats)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Message):
                continue
            if event.message_type == MessageType.TASK:
                task = pb.Task.FromString(event.payload)
                if (event.peer, task.id) in self._running:
                    continue
                self.tasks.append(task)
                script = self.scripts.get(task.model, echo)
                self._running[event.peer, task.id] = None
                self._step(event.peer, task, script(task), task.resume.index)
            elif event.message_type == MessageType.CANCEL:
                task_id = pb.Cancel.FromString(event.payload).id
                timer = self._running.pop((event.peer, task_id), None)
                if timer is not None:
                    timer.cancel()
                    self.cancelled.append(task_id)

    def _step(self, head: Address, task: pb.Task, steps: Iterator[Step], index: int) -> None:
        for step in steps:
            if isinstance(step, float):
                self._running[head, task.id] = self._loop.call_later(
                    step, self._step, head, task, steps, index
                )
                return
            if isinstance(step, TaskError):
                error = step.to_wire(task.id).SerializeToString()
                self._socket.send(head, MessageType.ERROR, error)
                break
            step.id, step.index, step.worker_id = task.id, index, self.heartbeat.worker_id
            index += 1
            self._socket.send(head, MessageType.RESULT, step.SerializeToString())
        self._running.pop((head, task.id), None)
        self.heartbeat.tasks_done += 1


async def _serve(options: argparse.Namespace) -> None:
    stub = await WorkerStub.open(
        options.heads.split(","),
        worker_id=options.id,
        slots=options.slots,
        listen=options.listen,
        interval=options.interval,
    )
    print(f"serving listen={stub.address}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await stub.close()


def main() -> None:
    """Run a stub until stopped; its first line of output says where it listens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", default="127.0.0.1:7717")
    parser.add_argument("--id", default="stub")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--interval", type=float, default=HEARTBEAT_INTERVAL)
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
