"""`daiic bench`: how fast each worker is with a model, alone and with many streams at once."""

from dataclasses import asdict, dataclass, field
from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from daiic.cli.bench_rounds import ALONE, Load, Round, loads, run_round, warm_up
from daiic.cli.connection import (
    DEFAULT_HEAD,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    ModelOption,
    TagOption,
    Target,
    choose_model,
)
from daiic.cli.exits import FAILED, err, explain, out, run, write_json
from daiic.cli.progress import run_with_progress
from daiic.cli.status import how, size
from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.shown import shown, word
from daiic.wire import daiic_pb2 as pb

MOST_TOKENS = 4096
MOST_STREAMS = 256
BAR = 30
"""Columns of the longest bar."""


@dataclass(slots=True)
class Measured:
    """One worker's figures, those of a single stream first, or why there are none."""

    beat: pb.Heartbeat
    status: pb.ModelStatus = field(default_factory=pb.ModelStatus)
    rounds: list[Round] = field(default_factory=list)
    was_busy: bool = False
    error: TaskError | None = None


def bench(
    model: ModelOption = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(help="Id or name of a worker; may be given more than once. Default: all."),
    ] = None,
    tag: TagOption = None,
    streams: Annotated[
        int, typer.Option(min=1, max=MOST_STREAMS, help="Most streams at once; doubled up to it.")
    ] = 8,
    tokens: Annotated[
        int, typer.Option(min=2, max=MOST_TOKENS, help="Tokens of every answer.")
    ] = 64,
    deadline: Annotated[
        float, typer.Option(min=1.0, max=3600.0, help="Seconds that an answer may take.")
    ] = 300.0,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """Measure a language model on every worker that has it: tokens/s, first token, memory.

    Prompt and number of tokens are always the same, so figures of different machines compare.
    """
    target = Target(head, key_file, allow_unauthenticated, tags=tag or [])
    run(_bench(model, frozenset(worker or ()), Load(tokens, streams, deadline), as_json, target))


async def _bench(
    wanted: str | None, named: frozenset[str], load: Load, as_json: bool, target: Target
) -> None:
    async with target.mesh() as cluster:
        model = await choose_model(cluster, wanted, "text", pb.COMPLETE, target.tags)
        all_measured = []
        # One after the other: workers may share a machine.
        for beat in _workers(await cluster.status(), model, named, target.tags):
            measured = Measured(beat, was_busy=beat.running > 0)
            all_measured.append(measured)
            try:
                await _measure(cluster, model, load, measured)
            except TaskError as error:
                measured.error = error
    if as_json:
        write_json(_as_json(model, load, all_measured))
    else:
        _print(model, load, all_measured)
    for measured in all_measured:
        if measured.error is not None:
            err.print(Text(f"worker {shown(measured.beat.name)}:"))
            explain(measured.error)
    if any(measured.error is not None for measured in all_measured):
        raise typer.Exit(FAILED)


def _workers(
    status: pb.ClusterStatus, model: str, named: frozenset[str], tags: list[str]
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
            f"no worker {', '.join(sorted(unknown))} is ready and has {model}",
            f"those that have it: {', '.join(beat.name for beat in having) or 'none'}; "
            "`daiic models pull` lets a worker download it",
        )
    found = [
        beat
        for beat in having
        if {*tags} <= {*beat.tags} and (not named or named & {beat.worker_id, beat.name})
    ]
    if not found:
        raise TaskError(
            pb.MODEL_NOT_FOUND,
            f"no worker that is ready has {model}",
            "`daiic models list` shows what they have; `daiic models pull` gets more",
        )
    return found


async def _measure(cluster: ClusterClient, model: str, load: Load, measured: Measured) -> None:
    worker_id = measured.beat.worker_id
    await run_with_progress(cluster, pb.Task(model=model, worker_id=worker_id, load=pb.LoadTask()))
    await warm_up(cluster, model, worker_id, load.deadline)
    for streams in loads(load.streams):
        with err.status(Text(f"{shown(measured.beat.name)}: {streams} at once")):
            done = await run_round(cluster, model, worker_id, streams, load)
        measured.rounds.insert(0, done)
        await _observe(cluster, model, measured)


async def _observe(cluster: ClusterClient, model: str, measured: Measured) -> None:
    """Note how the worker holds `model`; of its memory, the most that was seen."""
    for worker in (await cluster.status()).workers:
        if worker.heartbeat.worker_id == measured.beat.worker_id:
            for status in worker.heartbeat.models:
                if status.name == model:
                    status.bytes = max(status.bytes, measured.status.bytes)
                    measured.status = status


def _print(model: str, load: Load, all_measured: list[Measured]) -> None:
    prompts = {done.prompt_tokens for measured in all_measured for done in measured.rounds}
    prompt = " or ".join(map(str, sorted(prompts))) or "?"
    title = f"{shown(model)}: prompt {prompt} tokens, answer {load.tokens} tokens"
    table = Table(title=Text(title), header_style="bold")
    table.add_column("worker", max_width=32, overflow="fold")
    for heading in ("streams", "tokens/s", "", "each", "first token", "slowest"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    fastest = max(
        (done.total_rate for measured in all_measured for done in measured.rounds), default=1.0
    )
    for measured in all_measured:
        described = _description(measured)
        for number, done in enumerate(measured.rounds):
            table.add_row(
                described if number == 0 else "",
                str(done.streams),
                f"{done.total_rate:.1f}",
                Bar(fastest, 0, done.total_rate, width=BAR, color="green"),
                f"{done.rate:.1f}",
                f"{done.first_token * 1000:.0f} ms",
                f"{done.slowest_first_token * 1000:.0f} ms",
                end_section=number == len(measured.rounds) - 1,
            )
    if table.row_count:
        out.print(table)
    for measured in all_measured:
        for note in _notes(measured, load):
            out.print(Text(f"{shown(measured.beat.name)}: {note}", "dim"))


def _description(measured: Measured) -> Text:
    beat, status = measured.beat, measured.status
    lines = [f"{shown(beat.device)} ({word(pb.Backend, beat.backend)})"]
    held = [shown(status.quantization), shown(status.placement), size(status.bytes)]
    lines.append(" · ".join(part for part in held if part))
    if status.engine:
        lines.append(shown(status.engine))
    return Text(shown(beat.name)).append("\n" + "\n".join(lines), "dim")


def _notes(measured: Measured, load: Load) -> list[str]:
    """Return what a reader of the figures should know of how they came about."""
    notes = []
    if measured.was_busy:
        notes.append("it had other tasks, which makes it look slower")
    slots = measured.beat.slots
    if slots and load.streams > slots:
        notes.append(f"it runs {slots} tasks at once; further streams waited for their turn")
    if any(
        done.tokens < load.tokens * (ALONE if done.streams == 1 else done.streams)
        for done in measured.rounds
    ):
        notes.append("the model ended some answers early")
    return notes


def _as_json(model: str, load: Load, all_measured: list[Measured]) -> dict[str, object]:
    return {
        "model": model,
        "tokens": load.tokens,
        "workers": [
            {
                "id": measured.beat.worker_id,
                "name": measured.beat.name,
                "version": measured.beat.version,
                "backend": word(pb.Backend, measured.beat.backend),
                "device": measured.beat.device,
                "engine": measured.status.engine,
                "quantization": measured.status.quantization,
                "placement": measured.status.placement,
                "how": how(measured.status),
                "bytes": measured.status.bytes,
                "rounds": [asdict(done) for done in measured.rounds],
                "notes": _notes(measured, load),
                "error": measured.error.message if measured.error is not None else None,
            }
            for measured in all_measured
        ],
    }
