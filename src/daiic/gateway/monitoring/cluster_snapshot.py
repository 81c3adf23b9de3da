"""The cluster as it is now, for the page: what `/api/cluster` sends once a second."""

import time

import msgspec

from daiic.gateway.gateway import Gateway
from daiic.gateway.monitoring.activity import Activity
from daiic.gateway.monitoring.cluster_view import capability_names, kind_name
from daiic.model_kinds import MODEL_KINDS, capabilities_of
from daiic.shown import MESSAGE, shown, shown_text, word
from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb


class LiveShard(msgspec.Struct, frozen=True):
    """A part of a model that several workers hold; `layers` is 0 if that is not known.

    It is one slice of `slices` of each of them, all of them if that is 0.
    """

    worker: str
    name: str
    bytes: int
    first_layer: int
    layers: int
    slices: int


class LiveModel(msgspec.Struct, frozen=True):
    """A model on one worker.

    `progress` is 0 to 1 while it loads, `rate` how many of `unit` one request gets each second.
    """

    name: str
    kind: str
    capabilities: list[str]
    state: str
    progress: float
    bytes: int
    quantization: str
    placement: str
    engine: str
    choice: str
    detail: str
    rate: float
    unit: str
    shards: list[LiveShard]
    pinned: bool
    downloaded: bool


class LiveCard(msgspec.Struct, frozen=True):
    """A graphics card: memory in bytes, power in watts, temperature in degrees Celsius.

    `load` is 0 to 1; null is what could not be measured.
    """

    name: str
    vram_total: int
    vram_free: int
    temperature: float | None
    power: float | None
    power_limit: float | None
    load: float | None


class LiveWorker(msgspec.Struct, frozen=True):
    """A worker; memory in bytes, ages and round trips in milliseconds."""

    id: str
    name: str
    state: str
    backend: str
    device: str
    version: str
    address: str
    age_ms: int
    rtt_ms: float
    vram_total: int
    vram_free: int
    ram_total: int
    ram_free: int
    slots: int
    running: int
    waiting: int
    in_flight: int
    tasks_done: int
    tokens_per_second: float
    can_download: bool
    lends: int
    group: int | None
    """By its distance: 0 is the nearest, -1 cannot be reached."""
    health: str
    role: str
    set_aside: str
    """Why it gets no tasks, empty if it gets some."""
    retry_ms: int
    """Until it may get one to try it; 0 if it may, or has one."""
    cards: list[LiveCard]
    models: list[LiveModel]


class LiveHead(msgspec.Struct, frozen=True):
    """A head that exchanges its state with the one that tells of it, which has no `address`."""

    id: str
    address: str
    version: str
    state: str
    master: bool
    age_ms: int
    rtt_ms: float
    workers: int
    queued: int
    in_flight: int


class LivePolicy(msgspec.Struct, frozen=True):
    """What decides where tasks go; `digest` is empty if none is in force.

    `refused` is what is wrong with the one that should have replaced it, a mistake a line.
    """

    name: str
    rules: int
    digest: str
    refused: str


class LiveTask(msgspec.Struct, frozen=True):
    """A request that runs or has ended, without anything of its prompt or answer."""

    id: str
    endpoint: str
    model: str
    worker: str
    started: float
    seconds: float
    produced: int
    unit: str
    rate: float
    outcome: str


class LiveCluster(msgspec.Struct, frozen=True):
    """Everything that the page shows; `problem` says why there is nothing to show."""

    now: float
    version: str
    problem: str | None
    queued: int
    queue_size: int
    in_flight: int
    tasks_done: int
    tasks_failed: int
    tasks_moved: int
    tasks_hedged: int
    uptime_s: int
    workers: list[LiveWorker]
    heads: list[LiveHead]
    """Those that exchange their state, the one that tells this first; none if it is alone."""
    policy: LivePolicy | None
    """Null if the head has none."""
    tokens_per_second: list[float]
    """Measured each second, the oldest first."""
    tasks: list[LiveTask]
    benches: int
    """Another number than before when there are new results of benches."""


def snapshot(gateway: Gateway) -> LiveCluster:
    """Return the cluster as it is now."""
    view = gateway.view
    status = view.status or pb.ClusterStatus()
    names = {w.heartbeat.worker_id: w.heartbeat.name for w in status.workers}
    return LiveCluster(
        now=time.time(),
        version=VERSION,
        problem=view.why_not_ready(),
        queued=status.queued,
        queue_size=status.queue_size,
        in_flight=status.in_flight,
        tasks_done=status.tasks_done,
        tasks_failed=status.tasks_failed,
        tasks_moved=status.tasks_moved,
        tasks_hedged=status.tasks_hedged,
        uptime_s=status.uptime_s,
        workers=[_worker(worker) for worker in status.workers],
        heads=[_head(head) for head in status.heads] if len(status.heads) > 1 else [],
        policy=_policy(status.policy) if status.HasField("policy") else None,
        tokens_per_second=[round(m.tokens_per_second, 2) for m in view.history],
        tasks=[_task(activity, names) for activity in gateway.activity],
        benches=gateway.benches.changes,
    )


def _head(head: pb.HeadStatus) -> LiveHead:
    return LiveHead(
        id=shown(head.id),
        address=shown(head.address),
        version=shown(head.version),
        state=word(pb.WorkerState, head.state) if head.state else "",
        master=head.master,
        age_ms=head.age_ms,
        rtt_ms=round(head.rtt_ms, 2),
        workers=head.workers,
        queued=head.queued,
        in_flight=head.in_flight,
    )


def _policy(policy: pb.PolicyStatus) -> LivePolicy:
    return LivePolicy(
        name=shown(policy.name),
        rules=policy.rules,
        digest=shown(policy.digest),
        refused=shown_text(policy.refused, MESSAGE),
    )


def _worker(worker: pb.WorkerStatus) -> LiveWorker:
    said = worker.heartbeat
    return LiveWorker(
        id=said.worker_id,
        name=shown(said.name or said.worker_id),
        state=word(pb.WorkerState, said.state),
        backend=word(pb.Backend, said.backend),
        device=shown(said.device),
        version=shown(said.version),
        address=worker.address,
        age_ms=worker.age_ms,
        rtt_ms=round(worker.rtt_ms, 2),
        vram_total=said.vram.total,
        vram_free=said.vram.free,
        ram_total=said.ram.total,
        ram_free=said.ram.free,
        slots=said.slots,
        running=said.running,
        waiting=said.waiting,
        in_flight=worker.in_flight,
        tasks_done=said.tasks_done,
        tokens_per_second=round(said.tokens_per_second, 2),
        can_download=said.can_download,
        lends=said.shard.bytes,
        group=worker.group if worker.HasField("group") else None,
        health=word(pb.Health, worker.health) if worker.health else "",
        role=word(pb.Role, worker.role) if worker.role else "",
        set_aside=shown(worker.set_aside.reason, MESSAGE),
        retry_ms=worker.set_aside.retry_ms,
        cards=[_card(card) for card in said.cards],
        models=[_model(model) for model in said.models],
    )


def _card(card: pb.Card) -> LiveCard:
    return LiveCard(
        name=shown(card.name),
        vram_total=card.vram.total,
        vram_free=card.vram.free,
        temperature=round(card.temperature, 1) if card.HasField("temperature") else None,
        power=round(card.power, 1) if card.HasField("power") else None,
        power_limit=round(card.power_limit, 1) if card.HasField("power_limit") else None,
        load=round(card.load, 3) if card.HasField("load") else None,
    )


def _model(model: pb.ModelStatus) -> LiveModel:
    kind = MODEL_KINDS.get(model.kind)
    return LiveModel(
        name=shown(model.name),
        kind=kind_name(model.kind),
        capabilities=capability_names(capabilities_of(model) or ()),
        state=word(pb.ModelState, model.state),
        progress=round(model.progress, 3),
        bytes=model.bytes,
        quantization=shown(model.quantization),
        placement=shown(model.placement),
        engine=shown(model.engine),
        choice=shown(model.choice, MESSAGE),
        detail=shown(model.detail, MESSAGE),
        rate=round(model.rate, 2),
        unit=kind.unit if kind is not None else "",
        shards=[
            LiveShard(
                part.worker_id,
                shown(part.name),
                part.bytes,
                part.first_layer,
                part.layers,
                part.slices,
            )
            for part in model.shards
        ],
        pinned=model.pinned,
        downloaded=model.downloaded,
    )


def _task(activity: Activity, names: dict[str, str]) -> LiveTask:
    seconds = activity.seconds or time.perf_counter() - activity.clock
    return LiveTask(
        id=activity.id,
        endpoint=activity.endpoint,
        model=shown(activity.model),
        worker=shown(names.get(activity.worker, activity.worker)),
        started=activity.started,
        seconds=round(seconds, 3),
        produced=activity.produced,
        unit=activity.unit,
        rate=round(activity.rate, 1),
        outcome=activity.outcome,
    )
