"""One worker, as its heartbeats describe it."""

from dataclasses import dataclass
from enum import IntEnum

from daiic.head.limits import LIMITS
from daiic.head.read_prompts import ReadPrompts
from daiic.head.turnaround import Turnaround
from daiic.model_identity import differences
from daiic.model_kinds import capabilities_of
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import Address

READY = frozenset({pb.READY})
SERVING = frozenset({pb.READY, pb.STARTING})
"""States of workers that run tasks, or soon will."""
FILES = (".safetensors", ".gguf")
"""How the names of models end that are files of a worker, never Hugging Face's."""


class Readiness(IntEnum):
    """How soon a worker could run a model, the soonest first."""

    LOADED = 0
    LOADING = 1
    ON_DISK = 2
    DOWNLOADING = 3
    DOWNLOADABLE = 4
    FAILED = 5


_READINESS = {
    pb.LOADED: Readiness.LOADED,
    pb.LOADING: Readiness.LOADING,
    pb.AVAILABLE: Readiness.ON_DISK,
    pb.DOWNLOADING: Readiness.DOWNLOADING,
    pb.FAILED: Readiness.FAILED,
}


@dataclass(slots=True)
class WorkerModel:
    """A model on one worker.

    `rate` is what it makes a second of one task, 0 if that was not measured.
    `capabilities` are `None` until they are known. `identity` is known while
    the model is loaded. It `takes` that many bytes of memory, 0 if that is not
    known, and `keeps` those of them where it is led from, if several machines
    hold it; `shards` are its parts then. `slices` says what slices of it take,
    that like workers could compute. It keeps `caches` tokens of prompts, 0 if
    that is not known.
    """

    readiness: Readiness
    rate: float
    capabilities: frozenset[pb.Capability] | None
    identity: pb.ModelIdentity
    takes: int = 0
    keeps: int = 0
    shards: tuple[pb.Shard, ...] = ()
    slices: pb.ModelSlices | None = None
    caches: int = 0


class Worker:
    """One worker process: what it said last, and what this head has assigned to it.

    `bytes` is the size of its heartbeat. `attempts` are the ids of what it
    runs for this head, and `elsewhere` is how many tasks it has from other
    heads. `memory` are the bytes that models could take if it unloaded those that
    it has, `None` if it does not tell, and `room` those of them that one could take
    of which other workers hold parts. `offer` is what it lends to models of
    other workers. `read` is what it has read of late. `last_assignment` orders workers by
    when they last got a task. `awaited` jobs wait for it, as it has read their prompts.
    `retired` are processes of the same id that this one has replaced, each
    with the number of heartbeats that came from it since.
    """

    __slots__ = (
        "_excess",
        "_refilled",
        "address",
        "attempts",
        "awaited",
        "bytes",
        "can_download",
        "elsewhere",
        "heartbeat",
        "id",
        "incarnation",
        "last_assignment",
        "memory",
        "models",
        "offer",
        "read",
        "retired",
        "room",
        "rtt",
        "seen_at",
        "slots",
        "state",
        "tags",
        "turnaround",
    )

    def __init__(self, heartbeat: pb.Heartbeat, address: Address, now: float) -> None:
        self.id = heartbeat.worker_id
        self.incarnation = heartbeat.incarnation
        self.bytes = 0
        self.attempts: set[int] = set()
        self.retired: dict[int, int] = {}
        self.last_assignment = 0
        self.rtt: float | None = None
        self.read = ReadPrompts(LIMITS.read_blocks)
        self.awaited = 0
        self.turnaround = Turnaround()
        self._excess = 0
        self._refilled = False
        self.heartbeat = heartbeat
        self.update(heartbeat, address, now)

    @property
    def process(self) -> tuple[str, int]:
        """The process: a worker that was restarted is another one."""
        return self.id, self.incarnation

    @property
    def title(self) -> str:
        """What people call it."""
        return self.heartbeat.name or self.id

    @property
    def serving(self) -> bool:
        """Whether it runs tasks, or soon will."""
        return self.state in SERVING

    @property
    def load(self) -> int:
        """Tasks that it has, from all heads."""
        return len(self.attempts) + self.elsewhere

    @property
    def free(self) -> bool:
        """Whether it has a slot for a task of this head.

        That is one that is free or, where other heads fill each again at once, the next one.
        """
        return self.load < self.slots or (self._refilled and not self.attempts)

    def update(self, heartbeat: pb.Heartbeat, address: Address, now: float) -> None:
        """Replace what the same process said before."""
        ended_some = heartbeat.tasks_done > self.heartbeat.tasks_done
        self.heartbeat = heartbeat
        self.address = address
        self.seen_at = now
        self.state: int = heartbeat.state
        self.slots = heartbeat.slots or 1
        self.can_download = heartbeat.can_download
        self.tags = frozenset(heartbeat.tags)
        self.models = {
            model.name: WorkerModel(
                _READINESS[model.state],
                model.rate,
                capabilities_of(model),
                model.identity,
                model.needs,
                model.lead_needs,
                tuple(model.shards),
                model.slices if model.HasField("slices") else None,
                model.cache_tokens,
            )
            for model in heartbeat.models
            if model.state in _READINESS
        }
        if self.read:
            loaded = Readiness.LOADED
            self.read.forget_all_but(
                {name for name, model in self.models.items() if model.readiness == loaded}
            )
        self.memory, self.room = _memory(heartbeat)
        self.offer = heartbeat.shard if heartbeat.HasField("shard") else None
        # A heartbeat and a result may cross on the way, so only what two heartbeats say counts.
        excess = max(heartbeat.running + heartbeat.waiting - len(self.attempts), 0)
        self.elsewhere = min(excess, self._excess)
        self._excess = excess
        self._refilled = self.elsewhere >= self.slots and (self._refilled or ended_some)

    def readiness(self, model: str) -> Readiness | None:
        """Return how soon it could run `model`, `None` if never."""
        known = self.models.get(model)
        if known is not None:
            return known.readiness
        if self.can_download and names_repository(model):
            return Readiness.DOWNLOADABLE
        return None

    def lacks(self, model: str, needs: frozenset[pb.Capability]) -> bool:
        """Return whether it has `model` and knows that it cannot do all of `needs`."""
        known = self.models.get(model)
        return (
            known is not None and known.capabilities is not None and not needs <= known.capabilities
        )

    def fits(self, takes: int) -> bool:
        """Return whether it could hold so many bytes alone, as far as that is known."""
        return not takes or self.memory is None or takes <= self.memory

    def holds(self, model: str) -> bool:
        """Return whether it holds `model` alone, or could."""
        known = self.models.get(model)
        return known is None or (
            not known.shards and (known.readiness == Readiness.LOADED or self.fits(known.takes))
        )

    def takes(self, model: str) -> int:
        """Return the bytes of memory that `model` takes here, 0 if that is not known."""
        known = self.models.get(model)
        return known.takes if known is not None else 0

    def slices(self, model: str) -> pb.ModelSlices | None:
        """Return what slices of `model` take, `None` if it computes none."""
        known = self.models.get(model)
        return known.slices if known is not None else None

    def address_for(self, model: str) -> str:
        """Return where it is reached for its part of `model`, empty if it takes none."""
        if self.offer is None:
            return ""
        sliced = self.slices(model) is not None
        return self.offer.slice_address if sliced else self.offer.address

    def rate(self, model: str) -> float:
        """Return what `model` makes a second of one task, 0 if that was not measured."""
        known = self.models.get(model)
        return known.rate if known is not None else 0.0

    def caches(self, model: str) -> int:
        """Return how many tokens of prompts `model` keeps, 0 if that is not known."""
        known = self.models.get(model)
        return known.caches if known is not None else 0

    def can_continue(self, model: str, identity: pb.ModelIdentity) -> bool:
        """Return whether it has loaded `model`, and that is the same as `identity`."""
        known = self.models.get(model)
        return (
            known is not None
            and known.readiness == Readiness.LOADED
            and not differences(known.identity, identity)
        )

    def began(self, model: str) -> None:
        """Expect `model` to be loaded soon, until the next heartbeat."""
        known = self.models.get(model)
        if known is None:
            self.models[model] = WorkerModel(Readiness.LOADING, 0.0, None, pb.ModelIdentity())
        elif known.readiness > Readiness.LOADING:
            known.readiness = Readiness.LOADING


def _memory(heartbeat: pb.Heartbeat) -> tuple[int | None, int]:
    """Return what models could take in all, and on the GPUs if there are any."""
    vram, ram = heartbeat.vram, heartbeat.ram
    if not vram.total and not ram.total:
        return None, 0
    held = 0
    counted = set[tuple[str, str]]()
    for model in heartbeat.models:
        key = model.identity.weights, model.identity.quantization
        if key[0] and key in counted:
            continue  # the same one by another name
        counted.add(key)
        own = [shard.bytes for shard in model.shards if shard.worker_id == heartbeat.worker_id]
        held += sum(own) if model.shards else model.bytes
    memory = vram.free + ram.free + held
    return memory, min(vram.free + held, vram.total) if vram.total else memory


def names_repository(model: str) -> bool:
    """Return whether `model` has the form of a Hugging Face id, "owner/name", maybe with a tag."""
    owner, _, name = model.partition("/")
    return bool(owner and name) and "/" not in name and not name.endswith(FILES)
