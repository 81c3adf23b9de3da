"""What workers say of themselves, cut down to what a head keeps."""

from math import inf, isfinite

from google.protobuf.message import DecodeError, Message

from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb

MOST = 1e15
"""No way between machines takes as many milliseconds, or brings as many bytes a second."""
MOST_BYTES = 1 << 56
"""No machine has as much memory, for tokens neither; sums stay numbers that messages can hold."""


def read_heartbeat(payload: bytes, limits: HeadLimits) -> pb.Heartbeat | None:
    """Return the heartbeat of a worker, `None` if `payload` is not one or too large."""
    if len(payload) > limits.heartbeat:
        return None
    try:
        said = pb.Heartbeat.FromString(payload)
    except DecodeError:
        return None
    if not 0 < len(said.worker_id) <= limits.name:
        return None
    said.DiscardUnknownFields()
    said.slots = min(said.slots, limits.slots)
    said.name = said.name[: limits.name]
    said.version = said.version[: limits.name]
    said.device = said.device[: limits.name]
    if len(said.heads) > limits.heads:
        del said.heads[limits.heads :]
    tags = [tag[: limits.name] for tag in said.tags[: limits.tags]]
    del said.tags[:]
    said.tags.extend(tags)
    if len(said.cards) > limits.cards:
        del said.cards[limits.cards :]
    for card in said.cards:
        _cut_card(card, limits)
    for memory in ("vram", "ram"):
        if said.HasField(memory):
            _cut_bytes(getattr(said, memory), "total", "free")
    if said.HasField("shard"):
        _cut_offer(said.shard, limits)
    if len(said.models) > limits.models:
        del said.models[limits.models :]
    for index in range(len(said.models) - 1, -1, -1):
        model = said.models[index]
        if len(model.name) > limits.name:
            del said.models[index]
            continue
        model.quantization = model.quantization[: limits.name]
        model.placement = model.placement[: limits.name]
        model.detail = model.detail[: limits.detail]
        model.engine = model.engine[: limits.name]
        model.choice = model.choice[: limits.detail]
        _cut_bytes(model, "bytes", "needs", "lead_needs", "cache_tokens")
        if model.HasField("slices"):
            _cut_bytes(model.slices, "bytes", "each")
        if len(model.shards) > limits.shards:
            del model.shards[limits.shards :]
        for shard in model.shards:
            shard.worker_id = shard.worker_id[: limits.name]
            shard.name = shard.name[: limits.name]
            _cut_bytes(shard, "bytes")
        if len(model.capabilities) > limits.capabilities:
            del model.capabilities[limits.capabilities :]
        if model.HasField("identity"):
            identity = model.identity
            identity.weights = identity.weights[: limits.name]
            identity.tokenizer = identity.tokenizer[: limits.name]
            identity.quantization = identity.quantization[: limits.name]
            identity.precision = identity.precision[: limits.name]
        if not 0.0 <= model.rate < inf:
            model.rate = 0.0
    return said


def _cut_bytes(said: Message, *fields: str) -> None:
    for field in fields:
        if getattr(said, field) > MOST_BYTES:
            setattr(said, field, MOST_BYTES)


def _cut_card(card: pb.Card, limits: HeadLimits) -> None:
    """Cut down what a worker says of a graphics card; what cannot be was not measured."""
    card.name = card.name[: limits.name]
    if not isfinite(card.temperature):
        card.ClearField("temperature")
    if not 0.0 <= card.power < inf:
        card.ClearField("power")
    if not 0.0 <= card.power_limit < inf:
        card.ClearField("power_limit")
    if not 0.0 <= card.load <= 1.0:
        card.ClearField("load")


def _cut_offer(offer: pb.ShardOffer, limits: HeadLimits) -> None:
    """Cut down what a worker lends; a way that cannot be was not measured."""
    _cut_bytes(offer, "bytes", "slice_bytes")
    offer.address = offer.address[: limits.name]
    offer.slice_address = offer.slice_address[: limits.name]
    offer.like = offer.like[: limits.name]
    links = [
        link
        for link in offer.links[: limits.shards]
        if 0.0 <= link.rtt_ms < MOST
        and 0.0 <= link.bytes_per_second < MOST
        and 0 < len(link.worker_id) <= limits.name
    ]
    del offer.links[:]
    offer.links.extend(links)
