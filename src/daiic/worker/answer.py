"""One task on its model, from waiting for the load to the last part.

When memory runs out under it, the model is loaded again with a smaller budget
and the task continues after what it had delivered, as it does when its engine
was started again.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import structlog

from daiic.answer_order import AnswerOrder
from daiic.errors import TaskError
from daiic.model_identity import differences
from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as pb
from daiic.work import WorkKind, work_of
from daiic.worker.engines.interface import DeviceLost, EngineDied, EngineRestarted, ModelRefused
from daiic.worker.memory.manager import ModelManager
from daiic.worker.memory.managing import manage
from daiic.worker.memory.model_entry import Lease
from daiic.worker.memory.resource_errors import OUT_OF_MEMORY, does_not_fit
from daiic.worker.sharding.plan import Plan, plan_of
from daiic.worker.supported import check_supported

ATTEMPTS = 4
"""Engines on which a task is tried while memory runs out on them, or they start again."""
POLL = 0.5
"""Seconds between looks at how far a load is."""

log = structlog.get_logger()

Parts = AsyncGenerator[pb.Result, None]


async def answer(manager: ModelManager, task: pb.Task, *, encrypted: bool = False) -> Parts:
    """Yield the parts of the answer to `task`, numbered from `task.resume.index`.

    Parts with `progress` come while the model is downloaded and loaded.
    `encrypted` says whether there is a cluster key for what other machines hold.
    `task` is taken over. Closing the generator cancels the task.

    Raises:
        TaskError: if it cannot be answered.
    """
    if task.HasField("unload") or task.HasField("manage"):
        action = task.manage.action if task.HasField("manage") else None
        await manage(manager, task.model, action, plan_of(task, encrypted=encrypted))
        yield pb.Result(index=task.resume.index, final=True)
        return
    kind = work_of(task)
    if kind is None:
        raise TaskError(
            pb.BAD_REQUEST,
            "the task does not say what to do",
            "set one of text, image, embed, transcribe, speak, rerank, load or manage",
        )
    plan = plan_of(task, encrypted=encrypted)
    on_disk = manager.on_disk(task.model)
    if on_disk is not None:
        _check(task, kind, on_disk.kind, on_disk.capabilities, reasons=on_disk.reasons)
    order = AnswerOrder(task)
    restarts = 0
    for _ in range(ATTEMPTS):
        lease: Lease | None = None
        try:
            async with contextlib.aclosing(_leased(manager, task.model, plan)) as steps:
                async for step in steps:
                    if isinstance(step, Lease):
                        lease = step
                    else:
                        yield _numbered(order, pb.Result(progress=step))
            assert lease is not None
            engine = lease.engine
            reasons = lease.entry.model is not None and lease.entry.model.reasons
            _check(task, kind, engine.model_kind, engine.capabilities, reasons=reasons)
            if task.HasField("load"):
                yield _numbered(order, pb.Result(final=True))
                return
            origin: pb.Result | None = _begin(order, lease)
            async with contextlib.aclosing(engine.run(order.task)) as parts:
                async for part in parts:
                    if origin is not None:
                        part.MergeFrom(origin)
                        origin = None
                    yield _numbered(order, part)
                    if part.final:
                        return
            raise RuntimeError("the engine ended its answer without a final part")
        except TaskError as error:
            if isinstance(error, ModelRefused) and lease is not None:
                await manager.refuse(lease, error)
                raise
            if lease is None or not lease.broken:
                raise
        except OUT_OF_MEMORY:
            assert lease is not None
            await manager.out_of_memory(lease)
        except EngineRestarted:
            restarts += 1
        except EngineDied as error:
            assert lease is not None
            await manager.died(lease.entry, lease.resident)
            raise _died(task.model, error, lease.resident.plan) from None
        except Exception as error:
            assert lease is not None
            if not lease.broken:
                if isinstance(error, DeviceLost):
                    manager.on_device_lost(error)
                raise _internal(task.model, error) from None
        finally:
            if lease is not None:
                lease.release()
        order.resume_here()
    if restarts == ATTEMPTS:
        raise TaskError(
            pb.INTERNAL,
            f"what runs {task.model} was started again {restarts} times during this task",
            "send the task again; the worker's log says why",
        )
    raise does_not_fit(task.model)


def _begin(order: AnswerOrder, lease: Lease) -> pb.Result:
    """Return what the first part of this run says besides its content.

    Another model than the one that began the answer begins it again.
    """
    identity = lease.resident.identity(order.task.adapters)
    origin = pb.Result(model=identity)
    made_by = order.made_by
    differing = differences(made_by, identity) if made_by is not None else []
    if differing:
        log.warning(
            "another model began this answer, so it starts over",
            model=lease.entry.name,
            task=order.task.id,
            differs=", ".join(differing),
        )
        order.task.resume.CopyFrom(pb.Resume(index=order.next_index))
        origin.started_over = True
    return origin


async def _leased(
    manager: ModelManager, model: str, plan: Plan
) -> AsyncGenerator[pb.Progress | Lease, None]:
    """Yield how far the load of `model` is, each time that has changed, and then the lease."""
    lease = manager.lease_now(model, plan)
    if lease is not None:
        yield lease
        return
    coming = asyncio.create_task(manager.lease(model, plan))
    told = None
    try:
        while not coming.done():
            await asyncio.wait({coming}, timeout=POLL)
            entry = manager.table.get(model)
            progress = entry.progress() if entry is not None and not coming.done() else None
            if progress is not None and progress != told:
                told = progress
                yield progress
        lease = await coming
        yield lease
    finally:
        # A caller that stops listening while the lease is coming must not keep it.
        if not coming.done():
            coming.cancel()
        elif lease is None and not coming.cancelled() and coming.exception() is None:
            coming.result().release()


def _numbered(order: AnswerOrder, part: pb.Result) -> pb.Result:
    part.index = order.next_index
    order.accept(part)
    return part


def _check(
    task: pb.Task,
    kind: WorkKind,
    has: pb.ModelKind,
    capabilities: frozenset[pb.Capability],
    *,
    reasons: bool,
) -> None:
    """Refuse `task` if a model of the kind `has`, with these `capabilities`, cannot run it."""
    if not kind.accepts(has):
        wanted = MODEL_KINDS[kind.model_kinds[0]].makes
        raise TaskError(
            pb.BAD_REQUEST,
            f"{task.model} makes {MODEL_KINDS[has].makes}, not {wanted}",
            f"choose a model that makes {wanted}; `daiic models list` shows their kinds",
        )
    check_supported(task, capabilities, reasons=reasons)


def _died(name: str, error: EngineDied, plan: Plan) -> TaskError:
    log.error("an engine died", model=name, reason=str(error))
    if plan:  # most likely with one of the others; a head forms a group of those that live
        return TaskError(
            pb.WORKER_LOST,
            f"the group of workers that ran {name} fell apart: {error}",
            "send the task again, and another group is formed; the worker's log may say why",
        )
    return TaskError(
        pb.INTERNAL,
        f"what ran {name} has died: {error}",
        "send the task again, and the model is loaded again; the worker's log may say why",
    )


def _internal(name: str, error: Exception) -> TaskError:
    log.error("a task failed", model=name, exc_info=error)
    return TaskError(
        pb.INTERNAL,
        f"{name} failed on this task: {type(error).__name__}",
        "the worker's log says where; another worker may succeed",
    )
