"""A bench from beginning to end: one worker after the other, since they may share a machine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import msgspec

from daiic.bench.figures import LONG, MOST, SHORT, Event, Failed, Measured, Round, Step, short
from daiic.bench.rounds import ALONE, Load, loads, run_round, warm_up
from daiic.client import TaskClient
from daiic.errors import TaskError
from daiic.shown import shown, word
from daiic.wire import daiic_pb2 as pb

FRESH = 4.0
"""Seconds within which a worker tells what it holds; they do every two."""
LOOK = 0.2
"""Seconds between two looks whether it has."""


@dataclass(slots=True)
class _Subject:
    """A worker that is measured, and how it held the model when it was last looked at."""

    beat: pb.Heartbeat
    status: pb.ModelStatus = field(default_factory=pb.ModelStatus)
    rounds: list[Round] = field(default_factory=list)

    @property
    def name(self) -> str:
        return short(self.beat.name or self.beat.worker_id)


async def bench(
    cluster: TaskClient,
    model: str,
    load: Load,
    named: frozenset[str] = frozenset(),
    tags: frozenset[str] = frozenset(),
) -> AsyncGenerator[Event, None]:
    """Measure `model` on the workers that have it; closing the generator ends what runs.

    `named` are ids or names of workers, `tags` what they must have; empty means all. For each
    worker there are steps, and then what was measured or why it could not be.

    Raises:
        TaskError: if there is no such worker.
    """
    status = await cluster.status()
    for beat in _workers(status, model, named, tags):
        subject = _Subject(beat)
        try:
            async with contextlib.aclosing(_measure(cluster, model, load, subject)) as steps:
                async for step in steps:
                    yield step
        except TaskError as error:
            said = error.message[:LONG], error.remedy[:LONG]
            yield Failed(short(beat.worker_id), subject.name, *said)
            continue
        yield _measured(model, load, subject)


def _workers(
    status: pb.ClusterStatus, model: str, named: frozenset[str], tags: frozenset[str]
) -> list[pb.Heartbeat]:
    """Return the workers that have `model` and are among those asked for.

    Raises:
        TaskError: if there is none, or one that is `named` is not there.
    """
    beats = [worker.heartbeat for worker in status.workers if worker.heartbeat.state == pb.READY]
    having = [beat for beat in beats if any(known.name == model for known in beat.models)]
    unknown = named - {name for beat in having for name in (beat.worker_id, beat.name)}
    if unknown:
        raise TaskError(
            pb.NO_WORKER,
            f"no worker {', '.join(map(short, sorted(unknown)))} is ready and has {short(model)}",
            f"those that have it: {', '.join(short(beat.name) for beat in having) or 'none'}; "
            "`daiic models pull` lets a worker download it",
        )
    found = [
        beat
        for beat in having
        if tags <= {*beat.tags} and (not named or named & {beat.worker_id, beat.name})
    ]
    if not found:
        raise TaskError(
            pb.MODEL_NOT_FOUND,
            f"no worker that is ready has {short(model)}",
            "`daiic models list` shows what they have; `daiic models pull` gets more",
        )
    return found


async def _measure(
    cluster: TaskClient, model: str, load: Load, subject: _Subject
) -> AsyncGenerator[Step, None]:
    """Measure one worker; the figures are noted in `subject`."""
    worker_id = subject.beat.worker_id
    told = short(worker_id), subject.name
    yield Step(*told, phase="load")
    task = pb.Task(model=model, worker_id=worker_id, stream=True, load=pb.LoadTask())
    async with contextlib.aclosing(cluster.run(task)) as parts:
        async for part in parts:
            if part.HasField("progress"):
                at = part.progress
                share = min(1.0, at.done / at.total) if at.total else 0.0
                yield Step(*told, phase=short(at.phase), share=share)
    yield Step(*told, phase="warm up")
    await warm_up(cluster, model, worker_id, load)
    alone = await _observe(cluster, model, subject)
    for streams in loads(load.streams):
        yield Step(*told, streams=streams)
        done = await run_round(cluster, model, worker_id, streams, load)
        if streams == 1:
            subject.rounds.insert(0, msgspec.structs.replace(done, bytes=alone))
        else:
            held = await _observe(cluster, model, subject)
            subject.rounds.append(msgspec.structs.replace(done, bytes=held))


async def _observe(cluster: TaskClient, model: str, subject: _Subject) -> int:
    """Return the bytes that the worker says `model` takes, in words that are newer than this call.

    What it said before is taken if it says nothing for `FRESH` seconds.
    """
    asked_at = time.monotonic()
    while True:
        for worker in (await cluster.status()).workers:
            if worker.heartbeat.worker_id != subject.beat.worker_id:
                continue
            for status in worker.heartbeat.models:
                if status.name == model:
                    subject.status = status
            if worker.age_ms / 1000 < time.monotonic() - asked_at:
                return min(subject.status.bytes, MOST)
        if time.monotonic() - asked_at > FRESH:
            return min(subject.status.bytes, MOST)
        await asyncio.sleep(LOOK)


def _measured(model: str, load: Load, subject: _Subject) -> Measured:
    beat, status = subject.beat, subject.status
    return Measured(
        at=int(time.time()),
        model=model[:SHORT],
        tokens=load.tokens,
        worker=short(beat.worker_id),
        name=subject.name,
        version=short(beat.version),
        backend=word(pb.Backend, beat.backend),
        device=short(beat.device),
        engine=short(status.engine),
        quantization=short(status.quantization),
        placement=short(status.placement),
        choice=shown(status.choice, LONG)[:LONG],
        rounds=subject.rounds,
        notes=_notes(subject, load),
    )


def _notes(subject: _Subject, load: Load) -> list[str]:
    """Return what a reader of the figures should know of how they came about."""
    notes = []
    if subject.beat.running:
        notes.append("it had other tasks, which makes it look slower")
    slots = subject.beat.slots
    if slots and load.streams > slots:
        notes.append(f"it runs {slots} tasks at once; further streams waited for their turn")
    if any(
        done.tokens < load.tokens * (ALONE if done.streams == 1 else done.streams)
        for done in subject.rounds
    ):
        notes.append("the model ended some answers early")
    return notes
