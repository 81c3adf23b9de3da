"""`daiic models`: what the cluster can run, and how to get more of it."""

from collections import defaultdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from daiic.cli.connection import (
    DEFAULT_HEAD,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    TagOption,
    Target,
)
from daiic.cli.exits import FAILED, explain, out, run, write_json
from daiic.cli.progress import run_with_progress
from daiic.cli.status import MODEL_STYLES, abilities, how, size
from daiic.client.managing import manage
from daiic.model_names import Names, adapted
from daiic.shown import shown, word
from daiic.wire import daiic_pb2 as pb

app = typer.Typer(help="List models; load, unload, pin or delete one.", no_args_is_help=True)


@app.command("list")
def list_models(
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """List the models of all workers."""
    run(_list(as_json, Target(head, key_file, allow_unauthenticated)))


@app.command()
def pull(
    model: Annotated[
        str,
        typer.Argument(help="A Hugging Face id, maybe with :Q4_K_M, or a local name."),
    ],
    worker: Annotated[
        str, typer.Option(help="Id of the worker; by default the head chooses.")
    ] = "",
    tag: TagOption = None,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """Make a worker load MODEL, downloading it first if necessary."""
    run(_pull(model, worker, Target(head, key_file, allow_unauthenticated, tags=tag or [])))


def _managing(action: "pb.ManageTask.Action", done: str, help: str) -> None:
    """Add the command that has workers do `action`; `done` is what it says then."""

    def command(
        model: Annotated[
            str, typer.Argument(help="A model's name, as `daiic models list` has it.")
        ],
        worker: Annotated[
            list[str] | None,
            typer.Option(help="Id of a worker; by default all that have the model. Repeatable."),
        ] = None,
        head: HeadOption = DEFAULT_HEAD,
        key_file: KeyOption = None,
        allow_unauthenticated: InsecureOption = False,
    ) -> None:
        target = Target(head, key_file, allow_unauthenticated)
        run(_manage(model, action, done, frozenset(worker or ()), target))

    app.command(pb.ManageTask.Action.Name(action).lower(), help=help)(command)


_managing(pb.ManageTask.UNLOAD, "has left memory", "Take MODEL out of memory.")
_managing(pb.ManageTask.PIN, "stays in memory", "Load MODEL, and keep it in memory.")
_managing(pb.ManageTask.UNPIN, "may leave memory", "Let MODEL leave memory for others again.")
_managing(pb.ManageTask.DELETE, "is deleted", "Delete MODEL from disks that it was downloaded to.")


async def _manage(
    model: str,
    action: "pb.ManageTask.Action",
    done: str,
    workers: frozenset[str],
    target: Target,
) -> None:
    async with target.mesh() as cluster:
        status = await cluster.status()
        known = (one.name for worker in status.workers for one in worker.heartbeat.models)
        name = Names(known).meant(model)
        failed = False
        async for managed in manage(cluster, status, name, action, workers):
            if managed.error is None:
                out.print(Text(f"{shown(name)} {done} on {shown(managed.name)}"))
            else:
                failed = True
                explain(managed.error)
    if failed:
        raise typer.Exit(FAILED)


async def _list(as_json: bool, target: Target) -> None:
    async with target.mesh() as cluster:
        status = await cluster.status()
    found: dict[str, list[tuple[pb.WorkerStatus, pb.ModelStatus]]] = defaultdict(list)
    for worker in status.workers:
        for model in worker.heartbeat.models:
            found[model.name].append((worker, model))
    if as_json:
        write_json([_as_json(name, places) for name, places in sorted(found.items())])
        return
    table = Table(header_style="bold")
    for heading in ("model", "can", "on", "state", "weights", "memory", "runs with"):
        table.add_column(heading)
    for name, places in sorted(found.items()):
        for worker, model in places:
            table.add_row(
                Text(shown(name)),
                ", ".join(abilities(model)) or "unknown",
                Text(shown(worker.heartbeat.name)),
                Text(word(pb.ModelState, model.state), MODEL_STYLES.get(model.state, "dim")),
                Text(shown(model.quantization)),
                size(model.bytes or model.needs) if model.bytes or model.needs else "",
                Text(how(model)),
            )
            for adapter in model.adapters:
                able = ", ".join(abilities(model))
                table.add_row(
                    Text(shown(adapted(name, adapter))), able, Text(shown(worker.heartbeat.name))
                )
    out.print(table)
    if any(worker.heartbeat.can_download for worker in status.workers):
        out.print("[dim]to get another from Hugging Face: daiic models pull ORG/NAME[/]")


def _as_json(name: str, places: list[tuple[pb.WorkerStatus, pb.ModelStatus]]) -> dict[str, object]:
    return {
        "name": name,
        "kind": word(pb.ModelKind, places[0][1].kind),
        "workers": [
            {
                "id": worker.heartbeat.worker_id,
                "name": worker.heartbeat.name,
                "state": word(pb.ModelState, model.state),
                "capabilities": abilities(model),
                "adapters": list(model.adapters),
                "bytes": model.bytes,
                "needs": model.needs,
                "quantization": model.quantization,
                "placement": model.placement,
                "detail": model.detail,
                "engine": model.engine,
                "choice": model.choice,
            }
            for worker, model in places
        ],
    }


async def _pull(
    model: str,
    worker: str,
    target: Target,
) -> None:
    async with target.mesh() as cluster:
        names = Names(known.name for known in await cluster.models(target.tags))
        task = pb.Task(
            model=names.meant(model), worker_id=worker, load=pb.LoadTask(), tags=target.tags
        )
        result = await run_with_progress(cluster, task)
    out.print(Text(f"{shown(model)} is loaded on {shown(result.worker_id)}"))
