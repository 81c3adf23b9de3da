"""Loading a GGUF model: how much memory it takes, and what its llama-server is started with."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.context import context_of
from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.llama_cpp.arrangement import Arrangement, arrange
from daiic.worker.engines.llama_cpp.checkpoints import checkpoints
from daiic.worker.engines.llama_cpp.devices import PROGRAM
from daiic.worker.engines.llama_cpp.draft import Draft, draft_for
from daiic.worker.engines.llama_cpp.engine import started
from daiic.worker.engines.llama_cpp.kept_files import KeptFiles
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.needs import Needs
from daiic.worker.engines.llama_cpp.placement import Placement, cards_for
from daiic.worker.engines.llama_cpp.pool import Pool, smallest, whole_context
from daiic.worker.engines.llama_cpp.probe import kind_of
from daiic.worker.engines.llama_cpp.program import Options
from daiic.worker.engines.llama_cpp.replaceable import Start
from daiic.worker.engines.llama_cpp.server import Server
from daiic.worker.engines.llama_cpp.speculation import Speculation
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.gguf.description import Gguf, describe
from daiic.worker.models.gguf.files import adapters_of, belonging, projector_of, size_of
from daiic.worker.models.model import Model
from daiic.worker.sharding.group import Group

LOOK = 0.5
"""Seconds between looks at whether a group that loads is still whole."""
STATES = 0.25
"""Of a recurrent model's weights: the most that the states of all tasks take beside them."""


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`: weights, what lies beside them, and the smallest cache it is run with."""
    described = describe(model.path)
    draft = _draft(model.path, described, options, model.name)
    needs = _needs(model.path, described, draft, options, None)
    return needs.with_cache(needs.smallest.tokens)


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> Engine:
    """See `EngineModule`."""
    model = describe(path)
    guesser = _draft(path, model, options, options.model.name if options.model is not None else "")
    draft = guesser.file if guesser is not None else None
    own = belonging(path, draft)
    needs = _needs(path, model, guesser, options, budget.vram_bytes or budget.ram_bytes)
    arranged, slots = needs.arranged, needs.slots
    cards = cards_for(
        options.backend, budget, await options.llama_server.devices() if arranged is None else []
    )
    vram = cards.room if arranged is None else budget.vram_bytes
    ram = budget.ram_bytes if options.ram_offload or not vram else 0
    # Tasks that wait for each other cost less time than layers that lie in RAM.
    pool, least = needs.pool_within(vram), needs.with_cache(needs.smallest.tokens)
    if pool is None and least <= vram + ram:
        pool = needs.smallest if vram else needs.pool_within(ram)
    if pool is None:
        raise TaskError(
            pb.OUT_OF_MEMORY,
            f"the model needs {least >> 20} MiB, and {vram + ram >> 20} MiB are free",
            "use a smaller quantisation, or another worker",
        )
    needed = needs.with_cache(pool.tokens)
    placement = cards.place(needed, model.layers) if arranged is None else Placement()
    adapters = adapters_of(path)
    kind = kind_of(model)
    is_text = kind == pb.TEXT
    speculation = None
    if is_text and options.guesses.allowed(path.name):
        share = draft.stat().st_size / model.weight_bytes if draft is not None else 0.0
        speculation = Speculation(options.backend.kind, draft, share)
    if speculation is None:
        draft = None
    began = time.monotonic()
    async with AsyncExitStack() as undo:
        group = None
        if arranged is not None:
            if options.lead is None:
                what = "this worker leads no groups"
                raise TaskError(pb.UNSUPPORTED, what, "use another worker")
            group = await Group.form(options.lead, options.plan)
            undo.push_async_callback(group.close)
        kept = KeptFiles(path, own)
        undo.callback(kept.close)
        projector = projector_of(path) if is_text else None
        started_with = Options(
            model=kept.link_to(path),
            socket=Path(),
            tokens=pool.tokens,
            slots=pool.slots,
            checkpoints=checkpoints(model, slots, budget.ram_bytes - max(needed - vram, 0)),
            threads=options.threads,
            embeds=not is_text,
            ranks=kind == pb.RERANKING,
            projector=kept.link_to(projector) if projector is not None else None,
            adapters=tuple(kept.link_to(adapter) for adapter in adapters),
            draft=kept.link_to(draft) if draft is not None else None,
            lookup=speculation is not None,
            endpoints=tuple(group.endpoints) if group is not None else (),
            proportions=tuple(arranged.proportions) if arranged is not None else (),
            placement=placement,
        )
        server = await _started_server(started_with, progress, options.llama_server, group)
        undo.push_async_callback(server.close)
        options.children.take(placement.shares)
        undo.callback(options.children.give_back, placement.shares)

        def closed() -> None:
            kept.close()
            options.children.give_back(placement.shares)

        shards = []
        if group is not None and arranged is not None and options.lead is not None:
            group.moved(sum(arranged.bytes), time.monotonic() - began)
            shards = arranged.shards(options.lead.worker_id, options.lead.name)
        engine = await started(
            server,
            kind=kind,
            quantization=model.quantization,
            placement="gpu" if arranged and options.backend.is_gpu else placement.where,
            on_cards=sum(placement.shares.values()),
            on_close=closed,
            choice=_choice(model, options, placement, pool),
            pool=pool,
            vocabulary=model.vocabulary,
            chats=model.chats,
            adapters=[file.stem for file in adapters],
            speculation=speculation,
            group=group,
            shards=shards,
            on_guesses=lambda guesses: options.guesses.note(path.name, guesses),
            start=_again(started_with, kept, options.llama_server) if group is None else None,
        )
        undo.pop_all()  # from now on the engine closes them
    return engine


async def _started_server(
    options: Options,
    progress: Callable[[float], None],
    program: LlamaServer,
    group: Group | None,
) -> Server:
    """Start a server; what a group cannot load may be a member's fault."""
    if group is None:
        return await Server.start(options, progress, program)
    starting = asyncio.create_task(Server.start(options, progress, program))
    try:
        while not starting.done():
            await asyncio.wait({starting}, timeout=LOOK)
            if group.broken and not starting.done():
                raise TaskError(pb.WORKER_LOST, group.broken, "another group is formed")
        return starting.result()
    except TaskError as error:
        if error.code == pb.BAD_REQUEST:
            raise TaskError(pb.WORKER_LOST, error.message, "another group is formed") from None
        raise
    finally:
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})


def _again(options: Options, files: KeptFiles, program: LlamaServer) -> Start:
    """Return what starts another server in place of one that was started with `options`."""

    async def start(guesses: bool) -> Server:
        files.check()
        without = replace(options, draft=None, lookup=False)
        return await Server.start(options if guesses else without, lambda done: None, program)

    return start


def _choice(model: Gguf, options: LoadOptions, placement: Placement, pool: Pool) -> str:
    """Return, for people, why the model is run with this engine and `pool`."""
    threads = ""
    if options.threads:
        threads = f"{options.threads} {'thread' if options.threads == 1 else 'threads'}; "
    room = f"{context_of(pool.context, whole_context(model))} a task; "
    room += "1 task at once" if pool.slots == 1 else f"{pool.slots} tasks at once"
    if pool.slots > 1:
        room += f" in {pool.tokens:,} tokens" + (", as memory allows" if pool.is_bounded else "")
    if pool.slots < options.slots and model.state_bytes:
        room += ", as each keeps a large state"
    where = _where(model, options, placement)
    if options.plan:
        others = "1 other machine" if len(options.plan) == 1 else f"{len(options.plan)} others"
        where += f" and {others}, because no worker can hold it"
    return f"a GGUF on {where}; {threads}{room}"


def _where(model: Gguf, options: LoadOptions, placement: Placement) -> str:
    if options.plan:
        return "a GPU" if options.backend.is_gpu else "a CPU"
    if placement.where == "ram":
        lacks = options.backend.cards and placement.devices is None
        return f"a CPU, as {PROGRAM} here has no cards" if lacks else "a CPU"
    devices = placement.devices or ()
    cards = "a GPU" if len(devices) == 1 else f"{len(devices)} GPUs"
    if placement.where == "gpu":
        return cards
    return f"{cards} with {placement.layers} of {model.layers + 1} layers, as memory allows"


def _draft(path: Path, model: Gguf, options: LoadOptions, name: str) -> Draft | None:
    """Return what guesses ahead for the `model` called `name`; a group has no use for it."""
    return None if options.plan else draft_for(path, model, options.drafts.get(name))


def _needs(
    path: Path, model: Gguf, draft: Draft | None, options: LoadOptions, room: int | None
) -> Needs:
    """Return what `model` needs; of several machines, this one holds what fits into `room`."""
    files = size_of(path, draft.file if draft is not None else None)
    return Needs(
        model,
        draft.model if draft is not None else None,
        files,
        _slots(model, options),
        _arranged(files, model, options, room),
    )


def _slots(model: Gguf, options: LoadOptions) -> int:
    """Return how many tasks are run at once, whose states take STATES of the weights at most."""
    if kind_of(model) != pb.TEXT:
        return 1
    if not model.state_bytes:
        return options.slots
    return max(min(options.slots, int(model.weight_bytes * STATES) // model.state_bytes), 1)


def _arranged(
    files: int, model: Gguf, options: LoadOptions, room: int | None
) -> Arrangement | None:
    """Return who holds what if there is a plan; here no more than fits into `room`."""
    if not options.plan:
        return None
    context = smallest(model, 1).tokens * model.kv_bytes_per_token()
    most = None
    if room is not None:
        spread = sum(model.layer_bytes) + context
        needs = Needs(model, None, files, _slots(model, options), None)
        left = room - (needs.with_cache(0) - sum(model.layer_bytes))
        # A layer goes as a whole, so that what is here may be half of one too much.
        most = max(left - spread // max(model.layers, 1) // 2, 0)
    return arrange(
        model,
        options.plan,
        has_gpu=options.backend.is_gpu,
        context=context,
        beside=max(files - model.weight_bytes, 0),
        most=most,
    )
