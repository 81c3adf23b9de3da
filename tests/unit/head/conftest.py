"""A head without a network: workers and clients are objects, and time passes when told to."""

import itertools
from collections import deque
from collections.abc import Callable

import pytest

from daiic.head.core import Core
from daiic.head.dispatcher import Policy
from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb
from daiic.wire.events import Message, Pong, Unreachable
from daiic.wire.messages import Address, MessageType
from daiic.work import WORK

HEARTBEAT_INTERVAL = 2.0
STEP = 0.1


class Member:
    """Anything at an address; `inbox` holds what the head has sent it and it has not read."""

    def __init__(self, cluster: "Cluster", host: str = "192.0.2.1") -> None:
        self.cluster = cluster
        self.address: Address = (host, next(cluster.numbers))
        self.inbox: deque[tuple[MessageType, bytes]] = deque()
        cluster.members[self.address] = self

    def send(self, message_type: MessageType, payload: bytes, sequence: int = 1) -> None:
        message = Message(self.address, int(message_type), sequence, 0, payload)
        self.cluster.core.take(message, self.cluster.now)

    def received(self, *types: MessageType) -> list[bytes]:
        """Take what has come of these types out of the inbox."""
        taken = [payload for kind, payload in self.inbox if kind in types]
        self.inbox = deque(item for item in self.inbox if item[0] not in types)
        return taken

    def pong(self) -> None:
        self.cluster.core.take(Pong(self.address, 0.001), self.cluster.now)

    def unreachable(self) -> None:
        self.cluster.core.take(Unreachable(self.address, ()), self.cluster.now)


class Worker(Member):
    """A worker that does what the test says; it sends heartbeats while it is `alive`."""

    def __init__(self, cluster: "Cluster", heartbeat: pb.Heartbeat) -> None:
        super().__init__(cluster)
        self.heartbeat = heartbeat
        self.alive = True
        self.beat()

    def beat(self) -> None:
        self.beat_at = self.cluster.now
        self.send(MessageType.HEARTBEAT, self.heartbeat.SerializeToString())

    def say(self, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self.heartbeat, name, value)
        self.beat()

    def restart(self) -> None:
        self.inbox.clear()
        self.say(incarnation=self.heartbeat.incarnation + 1)

    def move(self) -> None:
        """Get another address, as after a new DHCP lease."""
        del self.cluster.members[self.address]
        self.address = ("192.0.2.2", next(self.cluster.numbers))
        self.cluster.members[self.address] = self
        self.beat()

    def tasks(self) -> list[pb.Task]:
        return [pb.Task.FromString(p) for p in self.received(MessageType.TASK)]

    def task(self) -> pb.Task:
        (task,) = self.tasks()
        return task

    def cancelled(self) -> list[int]:
        return [pb.Cancel.FromString(p).id for p in self.received(MessageType.CANCEL)]

    def answer(self, task: pb.Task, index: int | None = None, **fields: object) -> None:
        fields.setdefault("final", True)
        part = pb.Result(id=task.id, index=task.resume.index if index is None else index, **fields)
        self.send(MessageType.RESULT, part.SerializeToString())

    def fail(self, task: pb.Task, code: pb.ErrorCode, message: str = "it failed") -> None:
        error = pb.Error(id=task.id, code=code, message=message)
        self.send(MessageType.ERROR, error.SerializeToString())


class Client(Member):
    """A client of the head."""

    answers_pings = False

    def ask(self, model: str = "m", *, task_id: int | None = None, **fields: object) -> int:
        """Send a text task, or another one in `fields`; return its id."""
        if not {*WORK, "status"} & fields.keys():
            fields["text"] = pb.TextTask(prompt="hello")
        task_id = next(self.cluster.numbers) if task_id is None else task_id
        task = pb.Task(id=task_id, model=model, **fields)
        self.send(MessageType.TASK, task.SerializeToString())
        return task_id

    def cancel(self, task_id: int) -> None:
        self.send(MessageType.CANCEL, pb.Cancel(id=task_id).SerializeToString())

    def results(self) -> list[pb.Result]:
        return [pb.Result.FromString(p) for p in self.received(MessageType.RESULT)]

    def result(self) -> pb.Result:
        (result,) = self.results()
        return result

    def errors(self) -> list[pb.Error]:
        return [pb.Error.FromString(p) for p in self.received(MessageType.ERROR)]

    def error(self) -> pb.Error:
        (error,) = self.errors()
        return error

    def status(self, **asked: object) -> pb.ClusterStatus:
        self.ask(status=pb.StatusTask(**asked))
        return self.results()[-1].status


class Cluster:
    """One head with workers and clients; it is past the time in which it waits for workers.

    `has_room` tells whether a message of that type and payload may be sent now, `paused` for how
    long the head's process was stopped so far.
    """

    def __init__(self, limits: HeadLimits | None = None, **policy: object) -> None:
        self.now = 1000.0
        self.numbers = itertools.count(1)
        self.members: dict[Address, Member] = {}
        self.has_room: Callable[[MessageType, bytes], bool] = lambda kind, payload: True
        values = {
            "worker_timeout": 10.0,
            "queue_size": 100,
            "task_deadline": 600.0,
            "max_attempts": 3,
        }
        self.paused = 0.0
        self.limits = limits or HeadLimits()
        self._start(Policy(**(values | policy)))
        self.now += 10.0

    def _start(self, policy: Policy) -> None:
        self.core = Core(policy, self, self.now, lambda: self.paused, self.limits)

    def restart_head(self) -> None:
        self._start(self.core.dispatcher.policy)

    # The head's way out.

    def send(self, to: Address, message_type: MessageType, payload: bytes) -> int | None:
        if not self.has_room(message_type, payload):
            return None
        member = self.members.get(to)
        if member is not None:
            member.inbox.append((message_type, payload))
        return 0

    def ping(self, to: Address) -> None:
        member = self.members.get(to)
        if isinstance(member, Client) and member.answers_pings:
            member.pong()

    def forget(self, peer: Address) -> None:
        pass

    # Who there is, and time.

    def worker(
        self,
        worker_id: str = "w",
        models: dict[str, pb.ModelState] | tuple[str, ...] | list[pb.ModelStatus] = ("m",),
        rates: dict[str, float] | None = None,
        **fields: object,
    ) -> Worker:
        """Add a worker; `models` are names of loaded ones, names and states, or all it says."""
        if not isinstance(models, list):
            states = models if isinstance(models, dict) else dict.fromkeys(models, pb.LOADED)
            models = [
                pb.ModelStatus(name=name, state=state, rate=(rates or {}).get(name, 0.0))
                for name, state in states.items()
            ]
        values = {"incarnation": 1, "state": pb.READY, "slots": 4} | fields
        heartbeat = pb.Heartbeat(
            worker_id=worker_id,
            name=worker_id,
            models=models,
            **values,
        )
        return Worker(self, heartbeat)

    def client(self, host: str = "192.0.2.1") -> Client:
        return Client(self, host)

    def stop_head(self, seconds: float) -> None:
        """Stop the head's process for a while; what it is sent meanwhile waits in its socket."""
        self.paused += seconds

    def pass_time(self, seconds: float) -> None:
        """Let the head tick and live workers beat."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + STEP, end)
            for member in list(self.members.values()):
                if (
                    isinstance(member, Worker)
                    and member.alive
                    and self.now - member.beat_at >= HEARTBEAT_INTERVAL
                ):
                    member.beat()
            self.core.tick(self.now)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def new_cluster() -> type[Cluster]:
    """For a cluster with another policy than usual."""
    return Cluster
