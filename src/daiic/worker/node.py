"""A worker as the mesh sees it: what it hears, what it reports, and whether it is well."""

import asyncio
from collections.abc import Callable

from daiic.model_kinds import MODEL_KINDS
from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb
from daiic.wire.events import Delivered, Event, Message, Unreachable
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp import MeshSocket
from daiic.worker.answer import answer
from daiic.worker.backend import Backend
from daiic.worker.cards.telemetry import Telemetry
from daiic.worker.heads import Heads
from daiic.worker.identity import Identity
from daiic.worker.memory.manager import ModelManager
from daiic.worker.memory.meter import MemoryMeter
from daiic.worker.metrics import Statistics, WorkerCollector
from daiic.worker.tasks import Tasks


class Node:
    """Joins socket, heads, tasks and models."""

    def __init__(
        self,
        socket: MeshSocket,
        identity: Identity,
        backend: Backend,
        meter: MemoryMeter,
        telemetry: Telemetry,
        manager: ModelManager,
        *,
        head_names: tuple[str, ...],
        slots: int,
        tags: tuple[str, ...],
        statistics: Statistics,
        encrypted: bool = False,
        offer: Callable[[], pb.ShardOffer | None] = lambda: None,
    ) -> None:
        self._identity = identity
        self._offer = offer
        self._backend = backend
        self._meter = meter
        self.telemetry = telemetry
        self._manager = manager
        self._tags = tags
        self.state: pb.WorkerState = pb.STARTING
        self.statistics = statistics
        self.tasks = Tasks(
            socket,
            identity.worker_id,
            lambda task: answer(manager, task, encrypted=encrypted),
            slots,
            self.statistics,
            self._measured,
        )
        self.tasks.closed = "the worker is starting"
        self.collector = WorkerCollector(self.statistics, socket.counters)
        self.statistics.registry.register(self.collector)
        self.registered = asyncio.Event()
        self.heads = Heads(
            head_names,
            socket,
            self.heartbeat,
            self.tasks.lost,
            self._on_registered,
        )

    def serve(self) -> None:
        """Take tasks from now on, and say so."""
        self.tasks.closed = ""
        self.become(pb.READY)

    def become(self, state: pb.WorkerState) -> None:
        """Change the state, and tell the heads at once."""
        self.state = state
        self.heads.beat()

    def on_events(self, events: list[Event]) -> None:
        """Act on what the socket reports."""
        for event in events:
            if isinstance(event, Message):
                if event.message_type == MessageType.TASK:
                    self.tasks.take(event)
                elif event.message_type == MessageType.CANCEL:
                    self.tasks.cancel(event)
            elif isinstance(event, Delivered):
                self.heads.delivered(event)
                self.tasks.delivered(event)
            elif isinstance(event, Unreachable):
                self._unreachable(event.peer)

    def wedged(self) -> bool:
        """Return whether an engine has work but does nothing about it."""
        return any(
            engine.stalled_for > MODEL_KINDS[engine.model_kind].stall_limit
            for engine in self._manager.table.engines()
        )

    def heartbeat(self) -> pb.Heartbeat:
        """Return what this worker is and how it is."""
        vram, ram = self._meter.vram(), self._meter.ram(self._manager.table.held)
        beat = pb.Heartbeat(
            worker_id=self._identity.worker_id,
            incarnation=self._identity.incarnation,
            name=self._identity.name,
            version=VERSION,
            state=self.state,
            backend=self._backend.kind,
            device=self._backend.name,
            vram=pb.Memory(total=vram.total, free=vram.free),
            ram=pb.Memory(total=ram.total, free=ram.free),
            models=self._manager.statuses(),
            can_download=self._manager.source.downloads is not None,
            slots=self.tasks.slots,
            running=self.tasks.running,
            waiting=self.tasks.waiting,
            tasks_done=self.statistics.done,
            tokens_per_second=self.statistics.tokens_per_second(),
            heads=self.heads.answering,
            tags=self._tags,
            cards=self.telemetry.cards(),
            shard=self._offer(),
        )
        self.collector.heartbeat = beat
        return beat

    def _measured(self, model: str, rate: float, alone: bool) -> None:
        entry = self._manager.table.get(model)
        if entry is not None:
            entry.measured(rate, alone)

    def _unreachable(self, peer: Address) -> None:
        self.heads.lost(peer)
        self.tasks.lost(peer)

    def _on_registered(self) -> None:
        if self.heads.knows(pb.READY):
            self.registered.set()
