"""Which layers of a GGUF model lie where, and what that asks of llama-server."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.gguf.choice import at_lead
from daiic.worker.models.gguf.description import Gguf
from daiic.worker.sharding.plan import Plan, split


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A model's parts: `own` bytes and `own_layers` here, the rest with `plan`'s members.

    Weights are in `own` and `bytes`, and `context` are those of one task's context in all
    layers. `layers` and `bytes` are the members'. llama-server numbers devices of other machines
    first, then this machine's GPU if it `has_gpu`.
    """

    plan: Plan
    has_gpu: bool
    own: int
    own_layers: int
    layers: tuple[int, ...]
    bytes: tuple[int, ...]
    context: int

    def fits_members(self, slots: int) -> bool:
        """Return whether the members have room for the context of so many tasks at once."""
        whole = self.own_layers + sum(self.layers)
        return all(
            held + slots * self.context * layers // max(whole, 1) <= member.bytes
            for member, held, layers in zip(self.plan, self.bytes, self.layers, strict=True)
        )

    @property
    def proportions(self) -> list[int]:
        """Layers by device, for --tensor-split, in which the output counts as the last one's."""
        numbers = [*self.layers, *([self.own_layers] if self.has_gpu else [])]
        numbers[-1] += 1
        return numbers

    def shards(self, worker_id: str, name: str) -> list[pb.Shard]:
        """Return who holds what, in the order of the layers; this worker has that id and name."""
        mine = pb.Shard(worker_id=worker_id, name=name, bytes=self.own, layers=self.own_layers)
        theirs = [
            pb.Shard(worker_id=one.worker_id, name=one.name, bytes=size, layers=layers)
            for one, size, layers in zip(self.plan, self.bytes, self.layers, strict=True)
        ]
        parts = [*theirs, mine] if self.has_gpu else [mine, *theirs]
        first = 0
        for part in parts:
            part.first_layer, first = first, first + part.layers
        return parts


def arrange(
    model: Gguf,
    plan: Plan,
    *,
    has_gpu: bool,
    context: int,
    beside: int = 0,
    most: int | None = None,
) -> Arrangement:
    """Return where the parts of `model` go: layers in proportion to what each should hold.

    `context` are the bytes of one task's context in all layers. The embeddings and the output stay
    here, as do `beside` bytes of other files, and at `most` so many bytes of layers with their
    context; what the plan leaves here beyond that goes to the members too, since the plan knows
    only what was free before.

    Raises:
        TaskError: BAD_REQUEST if there are no layers to share.
    """
    members = [member.bytes for member in plan]
    own = max(plan.own - at_lead(model) - beside, 0)
    if not plan.own:
        own = max(sum(model.layer_bytes) + context - sum(members), 0)
    if most is not None and own > most:
        whole = sum(members)
        members = [size + (own - most) * size // whole for size in members]
        own = most
    shares = [*members, own] if has_gpu else [own, *members]
    counts = split(model.layer_bytes, shares)
    sizes = _sums(model.layer_bytes, counts)
    if has_gpu:
        *layers, mine = counts
        *parts, held = sizes
    else:
        mine, *layers = counts
        held, *parts = sizes
    held += model.other_bytes
    return Arrangement(plan, has_gpu, held, mine, tuple(layers), tuple(parts), context)


def _sums(sizes: Sequence[int], counts: Sequence[int]) -> list[int]:
    ends = list(accumulate(counts, initial=0))
    return [sum(sizes[begin:end]) for begin, end in pairwise(ends)]
