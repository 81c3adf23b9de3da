"""`daiic models`: what the cluster can run, and how to get more of it."""

import contextlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from daiic.cli.connection import (
    DEFAULT_HEAD,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    UrlOption,
    connect,
    mesh,
)
from daiic.cli.exits import err, out, run
from daiic.cli.status import MODEL_STYLES, size
from daiic.wire import daiic_pb2 as pb

app = typer.Typer(help="List models, load one.", no_args_is_help=True)


@app.command("list")
def list_models(
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """List the models of all workers."""
    run(_list(as_json, head, key_file, allow_unauthenticated))


@app.command()
def pull(
    model: Annotated[
        str, typer.Argument(help="A Hugging Face id, or a name in the models folder.")
    ],
    worker: Annotated[str, typer.Option(help="The id of the worker; else the head chooses.")] = "",
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Have a worker download MODEL, if it must, and load it."""
    run(_pull(model, worker, head, key_file, allow_unauthenticated, url))


async def _list(
    as_json: bool, head: str, key_file: Path | None, allow_unauthenticated: bool
) -> None:
    async with mesh(head, key_file, allow_unauthenticated) as cluster:
        status = await cluster.status()
    found: dict[str, list[tuple[pb.WorkerStatus, pb.ModelStatus]]] = defaultdict(list)
    for worker in status.workers:
        for model in worker.heartbeat.models:
            found[model.name].append((worker, model))
    if as_json:
        print(json.dumps([_as_json(name, places) for name, places in sorted(found.items())]))
        return
    table = Table(header_style="bold")
    for heading in ("model", "kind", "on", "state", "memory"):
        table.add_column(heading)
    for name, places in sorted(found.items()):
        for worker, model in places:
            state = pb.ModelState.Name(model.state).lower()
            style = MODEL_STYLES.get(model.state, "dim")
            table.add_row(
                name,
                pb.ModelKind.Name(model.kind).lower(),
                worker.heartbeat.name,
                f"[{style}]{state}[/]",
                size(model.bytes) if model.bytes else "",
            )
    out.print(table)
    if any(worker.heartbeat.can_download for worker in status.workers):
        out.print("[dim]others come from Hugging Face: daiic models pull ORG/NAME[/]")


def _as_json(name: str, places: list[tuple[pb.WorkerStatus, pb.ModelStatus]]) -> dict[str, object]:
    return {
        "name": name,
        "kind": pb.ModelKind.Name(places[0][1].kind).lower(),
        "workers": [
            {
                "id": worker.heartbeat.worker_id,
                "name": worker.heartbeat.name,
                "state": pb.ModelState.Name(model.state).lower(),
                "bytes": model.bytes,
                "quantization": model.quantization,
                "placement": model.placement,
                "detail": model.detail,
            }
            for worker, model in places
        ],
    }


async def _pull(
    model: str,
    worker: str,
    head: str,
    key_file: Path | None,
    allow_unauthenticated: bool,
    url: str | None,
) -> None:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    task = pb.Task(model=model, worker_id=worker, stream=True, load=pb.LoadTask())
    async with connect(url, head, key_file, allow_unauthenticated) as cluster:
        with progress:
            bar = progress.add_task(model, total=None)
            async with contextlib.aclosing(cluster.run(task)) as parts:
                async for part in parts:
                    if part.HasField("progress"):
                        step = part.progress
                        progress.update(
                            bar,
                            description=f"{model}: {step.phase}",
                            completed=step.done,
                            total=step.total or None,
                        )
    out.print(f"{model} is loaded on {part.worker_id}")
