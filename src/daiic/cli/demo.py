"""`daiic demo`: a head, two workers and a gateway on this machine, shown at work."""

import asyncio
import contextlib
import enum
import itertools
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.table import Table

from daiic.cli.exits import FAILED, USAGE, err, fail, out, run
from daiic.cli.local_cluster import DaemonDied, LocalCluster, free_port
from daiic.cli.progress import run_with_progress
from daiic.cli.status import cluster_view, size
from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.shown import word
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType

START_TIMEOUT = 180.0
CHAT_PROMPT = "What is DAIIC?"
IMAGE_PROMPT = "a red circle"
GUIDANCE = 3.0
"""More than that tints the ground of the tiny model's pictures."""
PICTURE = Path("daiic-demo.png")


class Head(enum.StrEnum):
    """The programs that can be the demo's head."""

    DAIIC_HEAD = "daiic-head"
    HYDRAMESH = "hydramesh"


def demo(
    models_dir: Annotated[Path, typer.Option(help="Folder with the models to use.")] = Path(
        "local-models"
    ),
    prompt: Annotated[str, typer.Option(help="Question for the language model.")] = CHAT_PROMPT,
    picture: Annotated[str, typer.Option(help="Prompt for the image model.")] = IMAGE_PROMPT,
    head: Annotated[Head, typer.Option(help="Program that is the head.")] = Head.DAIIC_HEAD,
) -> None:
    """Start a cluster on this machine, have it answer and paint, and keep it running."""
    if not models_dir.is_dir():
        raise fail(f"the folder {models_dir} does not exist: name another with --models-dir", USAGE)
    try:
        run(_demo(head, models_dir.resolve(), prompt, picture))
    except DaemonDied as error:
        raise fail(str(error), FAILED) from None


async def _demo(program: Head, models_dir: Path, prompt: str, picture: str) -> None:
    started = time.monotonic()
    head_port = free_port(socket.SOCK_DGRAM, 7717)
    status_port = free_port(socket.SOCK_STREAM, 7718)
    gateway_port = free_port(socket.SOCK_STREAM, 7700)
    head = f"127.0.0.1:{head_port}"
    with tempfile.TemporaryDirectory(prefix="daiic-demo-") as folder:
        cluster = LocalCluster(Path(folder))
        _stop_at_signals(cluster)
        try:
            await _start_head(cluster, Path(folder), program, head, status_port)
            await _start_others(cluster, Path(folder), models_dir, head, gateway_port)
            async with ClusterClient([head]) as client:
                status = await _wait_until_ready(cluster, client)
                out.print(f"[green]ready[/] in {time.monotonic() - started:.1f} s\n")
                out.print(cluster_view(status))
                await _show_chat(client, status, prompt)
                await _show_picture(client, status, picture)
                out.print(await _messages_at_head(status_port))
            _print_next_steps(head, head_port, gateway_port)
            await cluster.died()
        finally:
            with err.status("stopping the cluster"):
                await cluster.stop()


def _stop_at_signals(cluster: LocalCluster) -> None:
    """Let the first signal stop the cluster in order, and the next one kill it."""
    main = asyncio.current_task()
    assert main is not None
    steps: Iterator[Callable[[], object]] = itertools.chain(
        [main.cancel], itertools.repeat(cluster.kill)
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Started with nohup, or in the background of a script, it is meant to stay.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, lambda: next(steps)())


async def _start_head(
    cluster: LocalCluster, state: Path, program: Head, head: str, status_port: int
) -> None:
    flags = ["--listen", head, "--http-listen", f"127.0.0.1:{status_port}"]
    if program == Head.HYDRAMESH:
        flags += ["--state-dir", str(state / "head")]
    await cluster.start(program, "head", flags)


async def _start_others(
    cluster: LocalCluster, state: Path, models_dir: Path, head: str, gateway_port: int
) -> None:
    for name in ("worker-1", "worker-2"):
        flags = {
            "--name": name,
            "--heads": head,
            "--listen": "127.0.0.1:0",
            "--http-listen": "",
            "--state-dir": str(state / name),
            "--models-dir": str(models_dir),
            "--models": ",".join(_models(models_dir)),
            # The models here are tiny: 4-bit would cost time and save nothing.
            "--quantization": "none",
        }
        await cluster.start("daiic-worker", name, [item for pair in flags.items() for item in pair])
    await cluster.start(
        "daiic-gateway",
        "gateway",
        [
            *("--heads", head, "--listen", f"127.0.0.1:{gateway_port}", "--http-listen", ""),
            *("--state-dir", str(state / "gateway")),
        ],
    )


def _models(models_dir: Path) -> list[str]:
    folders = [path.parent.name for path in models_dir.glob("*/config.json")]
    checkpoints = [path.name for path in models_dir.glob("*.safetensors")]
    return sorted(folders) + sorted(checkpoints)


async def _wait_until_ready(cluster: LocalCluster, client: ClusterClient) -> pb.ClusterStatus:
    deadline = time.monotonic() + START_TIMEOUT
    with err.status("starting a head, two workers and a gateway") as spinner:
        while time.monotonic() < deadline:
            cluster.check()
            with contextlib.suppress(TaskError):
                status = await client.status()
                beats = [worker.heartbeat for worker in status.workers]
                if len(beats) == 2 and all(beat.state == pb.READY for beat in beats):
                    return status
                spinner.update(" · ".join(map(_doing, beats)) or "the head is up")
            await asyncio.sleep(0.25)
    raise TaskError(
        pb.NO_WORKER,
        f"the workers were not ready within {START_TIMEOUT:.0f} s",
        "run `daiic doctor` to see what is wrong",
    )


def _doing(beat: pb.Heartbeat) -> str:
    loading = [model for model in beat.models if model.state in (pb.LOADING, pb.DOWNLOADING)]
    if loading:
        return f"{beat.name} is loading {loading[0].name} {loading[0].progress:.0%}"
    return f"{beat.name} {word(pb.WorkerState, beat.state)}"


def _first_model(status: pb.ClusterStatus, kind: pb.ModelKind) -> str:
    for worker in status.workers:
        for model in worker.heartbeat.models:
            if model.kind == kind and model.state == pb.LOADED:
                return model.name
    raise TaskError(
        pb.MODEL_NOT_FOUND,
        f"no worker has loaded a model of kind {pb.ModelKind.Name(kind).lower()}",
        "`daiic models list` says why",
    )


async def _show_chat(client: ClusterClient, status: pb.ClusterStatus, prompt: str) -> None:
    model = _first_model(status, pb.TEXT)
    out.print(f"\n[bold cyan]> {prompt}[/] [dim]({model})[/]")
    messages = [pb.ChatMessage(role="user", content=prompt)]
    task = pb.Task(model=model, stream=True, text=pb.TextTask(messages=messages, temperature=0))
    started = time.monotonic()
    async with contextlib.aclosing(client.run(task)) as parts:
        async for part in parts:
            out.print(part.text, end="", markup=False, soft_wrap=True)
    seconds = time.monotonic() - started
    out.print(
        f"\n[dim]{part.usage.completion_tokens} tokens in {seconds:.1f} s by {part.worker_id}[/]\n"
    )


async def _show_picture(client: ClusterClient, status: pb.ClusterStatus, prompt: str) -> None:
    model = _first_model(status, pb.IMAGE)
    out.print(f"[bold cyan]> {prompt}[/] [dim]({model})[/]")
    task = pb.Task(model=model, image=pb.ImageTask(prompt=prompt, seed=1, guidance=GUIDANCE))
    result = await run_with_progress(client, task)
    out.print(f"{_keep(result.images[0].png)} [dim]by {result.worker_id}[/]\n", soft_wrap=True)


def _keep(png: bytes) -> Path:
    """Write the picture, over that of the last demo, and return where."""
    PICTURE.write_bytes(png)
    return PICTURE.resolve()


async def _messages_at_head(status_port: int) -> Table:
    """Return the head's traffic so far, by message type."""
    async with httpx.AsyncClient() as http:
        page = (await http.get(f"http://127.0.0.1:{status_port}/metrics")).text
    totals = dict(_samples(page))
    table = Table(title="messages at the head", title_justify="left")
    table.add_column("message")
    table.add_column("received", justify="right")
    table.add_column("sent", justify="right")
    for message_type in MessageType:
        name = message_type.name.lower()
        received = totals.get(f"daiic_wire_frames_received_{name}_total", 0)
        sent = totals.get(f"daiic_wire_frames_sent_{name}_total", 0)
        if received or sent:
            table.add_row(
                f"0x{message_type:02x} {message_type.name}", f"{received:.0f}", f"{sent:.0f}"
            )
    table.add_section()
    # HydraMesh's transport does not count messages by type.
    for row, unit in (
        ("messages", "{:.0f}".format),
        ("datagrams", "{:.0f}".format),
        ("bytes", size),
    ):
        counts = [totals.get(f"daiic_wire_{row}_{way}_total") for way in ("received", "sent")]
        if None not in counts:
            table.add_row(row, *(unit(count or 0) for count in counts))
    return table


def _samples(page: str) -> Iterator[tuple[str, float]]:
    for line in page.splitlines():
        name, _, value = line.partition(" ")
        if not line.startswith("#") and "{" not in name:
            yield name, float(value)


def _print_next_steps(head: str, head_port: int, gateway_port: int) -> None:
    option = "" if head_port == 7717 else f" --head {head}"
    out.print(f"\nthe cluster is running; open [bold]http://127.0.0.1:{gateway_port}[/], or try")
    out.print(f"  [bold].venv/bin/daiic chat{option}[/]")
    out.print(f'  [bold].venv/bin/daiic image{option} "a blue square"[/]')
    out.print(f"  [bold].venv/bin/daiic status --watch{option}[/]")
    out.print("[dim]Ctrl-C stops it[/]")
