"""`daiic bench`: how fast each worker is with a model, alone and with many streams at once."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from daiic.bench.bench import bench as bench_workers
from daiic.bench.figures import Event, Failed, Measured, Step
from daiic.bench.rounds import Load
from daiic.cli.connection import (
    DEFAULT_HEAD,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    ModelOption,
    TagOption,
    Target,
    UrlOption,
    choose_model,
)
from daiic.cli.exits import FAILED, err, explain, out, run, write_json
from daiic.cli.gateway_client import GatewayClient
from daiic.cli.status import size
from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.shown import MESSAGE, shown
from daiic.wire import daiic_pb2 as pb

MOST_TOKENS = 4096
MOST_STREAMS = 256
BAR = 30
"""Columns of the longest bar."""


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
    url: UrlOption = None,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """Measure a language model on every worker that has it: tokens/s, first token, memory.

    Prompt and number of tokens are always the same, so figures of different machines compare.
    With --url a gateway measures, keeps the figures, and shows them on its page.
    """
    target = Target(head, key_file, allow_unauthenticated, url, tags=tag or [])
    run(_bench(model, worker or [], Load(tokens, streams, deadline), as_json, target))


async def _bench(
    wanted: str | None, named: list[str], load: Load, as_json: bool, target: Target
) -> None:
    measured: list[Measured] = []
    failed: list[Failed] = []
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, wanted, "text", pb.COMPLETE, target.tags)
        model = chosen.model
        events: AsyncGenerator[Event, None]
        if isinstance(cluster, GatewayClient):
            events = cluster.bench(model, load, named, target.tags)
        else:
            assert isinstance(cluster, ClusterClient)
            events = bench_workers(cluster, model, load, frozenset(named), frozenset(target.tags))
        with err.status("") as line:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, Step):
                        line.update(_step(event))
                    elif isinstance(event, Measured):
                        measured.append(event)
                    else:
                        failed.append(event)
    if as_json:
        write_json(_as_json(model, load, measured, failed))
    else:
        _print(model, load, measured)
    for event in failed:
        err.print(Text(f"worker {shown(event.name)}:"))
        explain(TaskError(pb.INTERNAL, event.message, event.remedy))
    if failed:
        raise typer.Exit(FAILED)


def _step(step: Step) -> Text:
    doing = f"{step.streams} at once" if step.streams else shown(step.phase)
    if step.share:
        doing += f" {step.share:.0%}"
    return Text(f"{shown(step.name)}: {doing}")


def _print(model: str, load: Load, all_measured: list[Measured]) -> None:
    prompts = {done.prompt_tokens for measured in all_measured for done in measured.rounds}
    prompt = " or ".join(map(str, sorted(prompts))) or "?"
    title = f"{shown(model)}: prompt {prompt} tokens, answer {load.tokens} tokens"
    table = Table(title=Text(title), header_style="bold")
    table.add_column("worker", max_width=32, overflow="fold")
    for heading in ("streams", "tokens/s", "", "each", "first token", "slowest", "memory"):
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
                size(done.bytes) if done.bytes else "",
                end_section=number == len(measured.rounds) - 1,
            )
    if table.row_count:
        out.print(table)
    for measured in all_measured:
        for note in measured.notes:
            out.print(Text(f"{shown(measured.name)}: {shown(note, MESSAGE)}", "dim"))


def _description(measured: Measured) -> Text:
    lines = [f"{shown(measured.device)} ({shown(measured.backend)})"]
    held = [shown(measured.quantization), shown(measured.placement), size(measured.bytes)]
    lines.append(" · ".join(part for part in held if part))
    if measured.engine:
        lines.append(shown(measured.engine))
    return Text(shown(measured.name)).append("\n" + "\n".join(lines), "dim")


def _as_json(
    model: str, load: Load, all_measured: list[Measured], failed: list[Failed]
) -> dict[str, object]:
    workers: list[dict[str, Any]] = []
    for measured in all_measured:
        told = msgspec.to_builtins(measured)
        for known in ("event", "model", "tokens"):
            del told[known]
        workers.append({"id": told.pop("worker"), "bytes": measured.bytes, **told, "error": None})
    workers += [
        {"id": event.worker, "name": event.name, "rounds": [], "error": event.message}
        for event in failed
    ]
    return {"model": model, "tokens": load.tokens, "workers": workers}
