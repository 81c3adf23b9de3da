"""Loading a model in slices: a rank of this worker's own, and one of each member."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineDied, LoadOptions
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.digests import digests_of
from daiic.worker.models.model import Model
from daiic.worker.sharding.group import Group, Lead
from daiic.worker.sharding.tunnel import free_port
from daiic.worker.slices.division import Division, division, slice_dtype
from daiic.worker.slices.engine import SlicedEngine, started
from daiic.worker.slices.interface import address_of
from daiic.worker.slices.members import BLAME, Members
from daiic.worker.slices.messages import Ask, Begin, Place, Told
from daiic.worker.slices.rank import Rank
from daiic.worker.slices.room import place_for

TOKEN = 16


def footprint(model: Model, options: LoadOptions) -> int:
    """Return the bytes that this worker's slice of `model` needs; errors are those of `load`."""
    return _divided(model, options).of_one(len(model.plan) + 1)


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> SlicedEngine:
    """Load a slice of the model at `path` here, and let the members of `options.plan` do so.

    Raises:
        TaskError: UNSUPPORTED if it cannot be divided so, or by this worker; OUT_OF_MEMORY;
            WORKER_LOST if a member, or this worker, cannot compute its slice.
    """
    model, lead = options.model, options.lead
    if model is None or lead is None or not lead.interface:
        raise TaskError(
            pb.UNSUPPORTED,
            "this worker leads no group that computes a model in slices",
            "set shard_interface, or use another worker",
        )
    ranks = len(options.plan) + 1
    parts = await in_thread(lambda: _divided(model, options))
    device, room = place_for(options.backend, budget)
    if parts.of_one(ranks) > room:
        raise TaskError(
            pb.OUT_OF_MEMORY,
            f"a slice of {model.name} needs {parts.of_one(ranks) >> 20} MiB, and {room >> 20} MiB "
            "are free",
            "let more workers share it, or choose a smaller model",
        )
    digests = await in_thread(lambda: digests_of(model))
    address = address_of(lead.interface)
    place = Place(
        rank=0,
        ranks=ranks,
        address=address,
        port=free_port(address),
        token=secrets.token_hex(TOKEN),
    )
    async with AsyncExitStack() as undo:
        group = await Group.form(lead, options.plan, lending=False)
        undo.push_async_callback(group.close)
        members = Members(group, lead.secret)
        undo.push_async_callback(members.close)
        begin = Begin(
            path=str(path),
            name=model.name,
            place=place,
            device=device,
            precision=str(slice_dtype(options.backend, options.precision)).removeprefix("torch."),
            room=room,
            slots=options.slots,
            threads=options.threads,
        )
        members.ask(
            lambda number: Ask(
                model=model.name,
                weights=digests.weights,
                tokenizer=digests.tokenizer,
                like=lead.like,
                place=msgspec.structs.replace(place, rank=number + 1),
            )
        )
        try:
            rank = await Rank.start(begin, lead.interface)
        except OSError as error:
            raise TaskError(pb.INTERNAL, str(error), "the worker's log says why") from None
        undo.push_async_callback(rank.close)

        async def own() -> Told:
            async for told in started(rank):
                if told.state == "loading":
                    progress(told.done)
            return told

        ready = await _whichever_fails(own(), members)
        engine = SlicedEngine(
            rank,
            members,
            group,
            ready,
            placement="gpu" if options.backend.is_gpu else "ram",
            shards=_shards(lead, options, members, ready),
        )
        undo.pop_all()
        return engine


def _divided(model: Model, options: LoadOptions) -> Division:
    parts = division(model.path, options.backend, options.quantization, options.precision)
    ranks = len(model.plan) + 1
    if parts is None:
        raise TaskError(
            pb.UNSUPPORTED,
            f"{model.name} cannot be computed in slices: transformers has no plan for it",
            "choose a GGUF of it, or another model",
        )
    if parts.most % ranks:
        raise TaskError(
            pb.UNSUPPORTED,
            f"{model.name} cannot be computed in {ranks} slices: their number must divide "
            f"{parts.most}",
            "let another number of workers share it",
        )
    return parts


async def _whichever_fails(own: Coroutine[Any, Any, Told], members: Members) -> Told:
    """Return what the first rank told when all were ready; a member that is lost ends the wait."""
    telling = asyncio.create_task(own)
    waiting: set[asyncio.Future[Any]] = {telling, members.lost}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not members.lost.done() and telling.exception() is not None:
            # It may be so because of another.
            await asyncio.wait({members.lost}, timeout=BLAME)
        if members.lost.done():
            what = "another group is formed without it"
            raise TaskError(pb.WORKER_LOST, members.lost.result(), what)
        try:
            ready = telling.result()
        except EngineDied as error:
            what = f"the slice of the worker that leads has failed: {error}"
            raise TaskError(pb.WORKER_LOST, what, "another group is formed") from None
        await members.ready()
        return ready
    finally:
        telling.cancel()


def _shards(lead: Lead, options: LoadOptions, members: Members, ready: Told) -> list[pb.Shard]:
    """Return who holds a slice: this worker first."""
    holders = [
        (lead.worker_id, lead.name, ready.bytes),
        *(
            (one.worker_id, one.name, size)
            for one, size in zip(options.plan, members.bytes, strict=True)
        ),
    ]
    return [
        pb.Shard(
            worker_id=worker_id,
            name=name,
            bytes=size,
            layers=ready.layers,
            slices=len(holders),
        )
        for worker_id, name, size in holders
    ]
