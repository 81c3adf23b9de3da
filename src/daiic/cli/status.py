"""`daiic status`: the cluster as its head sees it, once or live."""

import asyncio
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daiic.cli.connection import (
    DEFAULT_HEAD,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    Target,
)
from daiic.cli.exits import out, run
from daiic.cli.status_heads import heads_view
from daiic.cli.status_tasks import explanation_view, tasks_view
from daiic.model_kinds import MODEL_KINDS, capabilities_of
from daiic.shown import MESSAGE, shown, word
from daiic.wire import daiic_pb2 as pb

REFRESH = 1.0

STATE_STYLES = {
    pb.READY: "green",
    pb.STARTING: "yellow",
    pb.DRAINING: "yellow",
    pb.STOPPED: "red",
}
HEALTH_STYLES = {
    pb.DEGRADED: "yellow",
    pb.UNREACHABLE: "red",
}
MODEL_STYLES = {
    pb.LOADED: "green",
    pb.LOADING: "yellow",
    pb.DOWNLOADING: "yellow",
    pb.FAILED: "red",
}


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep the table up to date.")
    ] = False,
    tasks: Annotated[
        bool, typer.Option("--tasks", "-t", help="Show the tasks that are not over, too.")
    ] = False,
    explain: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=1,
            max=2**64 - 1,
            help="Show why the task with this number, as --tasks has it, is where it is.",
        ),
    ] = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
) -> None:
    """Show the workers with their models, load, memory and speed."""
    target = Target(head, key_file, allow_unauthenticated)
    run(_status(watch, as_json, pb.StatusTask(tasks=tasks, explain=explain or 0), target))


async def _status(watch: bool, as_json: bool, asked: pb.StatusTask, target: Target) -> None:
    async with target.mesh() as cluster:
        current = await cluster.status(asked)
        if as_json:
            print(MessageToJson(current, preserving_proto_field_name=True, indent=2))
        elif not watch:
            out.print(_view(current, asked))
        else:
            with Live(_view(current, asked), console=out, auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(REFRESH)
                    live.update(_view(await cluster.status(asked), asked), refresh=True)


def _view(status: pb.ClusterStatus, asked: pb.StatusTask) -> RenderableType:
    """Return what was asked for: why a task is where it is alone, all else with the cluster."""
    if asked.explain:
        return explanation_view(status, asked.explain)
    return Group(cluster_view(status), *([tasks_view(status)] if asked.tasks else []))


def cluster_view(status: pb.ClusterStatus) -> RenderableType:
    """Return the whole cluster as one table and a line of totals."""
    table = Table(header_style="bold")
    table.add_column("worker", max_width=24, overflow="ellipsis", no_wrap=True)
    table.add_column("load", no_wrap=True)
    table.add_column("models", overflow="fold")
    table.add_column("memory", no_wrap=True)
    for worker in status.workers:
        table.add_row(*_worker_row(worker))
    hedged = f" · {status.tasks_hedged} hedged" if status.tasks_hedged else ""
    totals = Text(
        f"{_counted(len(status.workers), 'worker')} · "
        f"{_counted(status.in_flight, 'task')} in flight · "
        f"{status.queued} of {status.queue_size} queued · {status.tasks_done} done · "
        f"{status.tasks_failed} failed · {status.tasks_moved} moved{hedged} · "
        f"up {_duration(status.uptime_s)} · daiic {shown(status.version)}",
        style="dim",
    )
    below: list[RenderableType] = []
    if heads := heads_view(list(status.heads)):
        below.append(heads)
    below += [_node_line(node) for node in status.nodes]
    if status.HasField("policy"):
        below += _policy_lines(status.policy)
    if not status.workers:
        advice = "no workers yet: start `daiic-worker`, or set services.daiic.worker.enable = true"
        below.append(Text(advice, style="yellow"))
    return Group(table, *below, totals)


def _policy_lines(policy: pb.PolicyStatus) -> list[Text]:
    """Return what decides where tasks go, and what is wrong with what should have replaced it."""
    lines = []
    if policy.digest:
        rules = _counted(policy.rules, "rule")
        lines.append(Text(f"policy {shown(policy.name)} · {rules} · {shown(policy.digest)[:12]}"))
    if policy.refused:
        mistakes = policy.refused.splitlines()
        lines.append(Text("the next policy was refused:", style="yellow"))
        lines += [Text(f"  {shown(mistake)}", style="yellow") for mistake in mistakes[:5]]
        if len(mistakes) > 5:
            lines.append(Text(f"  and {len(mistakes) - 5} more", style="yellow"))
    return lines


def _node_line(node: pb.NodeStatus) -> Text:
    text = f"node {node.node} · {word(pb.Role, node.role)}, follows {node.master}"
    text += f" · reaches {_counted(node.peers, 'node')} · {shown(node.address)}"
    return Text(f"{text} · heard {node.age_ms / 1000:.1f} s ago")


def _worker_row(worker: pb.WorkerStatus) -> list[RenderableType]:
    beat = worker.heartbeat
    who = Text(shown(beat.name or beat.worker_id), style="bold")
    who.append(f"\n{word(pb.Backend, beat.backend)}", style="not bold")
    who.append(f" · {shown(beat.device)}\n{shown(worker.address)}", style="not bold dim")
    if beat.tags:
        who.append(f"\ntags: {', '.join(map(shown, beat.tags))}", style="not bold dim")
    load = Text(word(pb.WorkerState, beat.state), style=STATE_STYLES.get(beat.state, "white"))
    waiting = f" +{beat.waiting}" if beat.waiting else ""
    load.append(f"\n{beat.running}/{beat.slots}{waiting} tasks", style="default")
    load.append(f"\n{beat.tokens_per_second:.1f} tokens/s", style="default")
    load.append(f"\n{worker.rtt_ms:.1f} ms away", style="dim")
    if standing := standing_of(worker):
        load.append(f"\n{standing}", style=HEALTH_STYLES.get(worker.health, "dim"))
    if worker.HasField("set_aside"):
        wait, reason = set_aside(worker.set_aside)
        who.append(f"\n{wait}:\n{reason}", style="not bold yellow")
    return [who, load, Text("\n").join(map(_model_line, beat.models)), _memory(beat)]


def standing_of(worker: pb.WorkerStatus) -> str:
    """Return how near a worker is, its role and what is wrong with its way; "" if nobody tells."""
    parts = [f"group {worker.group}"] if worker.HasField("group") and worker.group >= 0 else []
    if worker.role:
        parts.append(word(pb.Role, worker.role))
    if worker.health > pb.HEALTHY:
        parts.append(word(pb.Health, worker.health))
    return ", ".join(parts)


def set_aside(aside: pb.SetAside) -> tuple[str, str]:
    """Return for how long a worker gets no tasks, and why."""
    wait = f"for {_duration(-(-aside.retry_ms // 1000))}" if aside.retry_ms else "until tried"
    return f"set aside {wait}", shown(aside.reason, MESSAGE)


def _model_line(model: pb.ModelStatus) -> Text:
    line = Text(shown(model.name), style=MODEL_STYLES.get(model.state, "dim"))
    if model.state in (pb.LOADING, pb.DOWNLOADING):
        line.append(f"\n  {word(pb.ModelState, model.state)} {model.progress:.0%}")
    elif model.state == pb.LOADED:
        held = f"{shown(model.quantization)} · {shown(model.placement)} · {size(model.bytes)}"
        if model.rate:
            held += f" · {model.rate:.1f} {unit_of(model)}/s"
        line.append(f"\n  {held}\n  {', '.join(abilities(model))}", style="dim")
        if model.engine:
            line.append(f"\n  {how(model)}", style="dim")
    for part in model.shards:
        line.append(f"\n  {part_of(part)}", style="dim")
    if model.detail:
        line.append(f"\n  {shown(model.detail, MESSAGE)}", style="dim")
    return line


def _memory(beat: pb.Heartbeat) -> Text:
    lines = []
    for label, memory in (("VRAM", beat.vram), ("RAM", beat.ram)):
        if memory.total:
            free = round(10 * min(1, memory.free / memory.total))
            bar = "█" * (10 - free) + "░" * free
            lines.append(Text(f"{label} {bar}\n{size(memory.free)} free"))
    if beat.shard.bytes:
        lines.append(Text(f"lends {size(beat.shard.bytes)}", style="dim"))
    if beat.shard.slice_address:
        lines.append(Text(f"slices up to {size(beat.shard.slice_bytes)}", style="dim"))
    lines += [card_line(card) for card in beat.cards]
    return Text("\n").join(lines)


def card_line(card: pb.Card) -> Text:
    """Return a graphics card's name and below it what could be measured of it."""
    facts = [f"{size(card.vram.free)} free"] if card.vram.total else []
    if card.HasField("load"):
        facts.append(f"{card.load:.0%} busy")
    if card.HasField("temperature"):
        facts.append(f"{card.temperature:.0f} °C")
    if card.HasField("power"):
        limit = f" of {card.power_limit:.0f}" if card.HasField("power_limit") else ""
        facts.append(f"{card.power:.0f}{limit} W")
    return Text(shown(card.name)).append(f"\n  {' · '.join(facts) or 'not measured'}", style="dim")


def part_of(shard: pb.Shard) -> str:
    """Return who holds a part of a model that several workers have, and which layers."""
    who = shown(shard.name or shard.worker_id)
    if not shard.layers:
        return f"{who}: {size(shard.bytes)}"
    which = f"layers {shard.first_layer} to {shard.first_layer + shard.layers - 1}"
    if shard.slices:
        which = f"1/{shard.slices} of {which}"
    return f"{who}: {which}, {size(shard.bytes)}"


def unit_of(model: pb.ModelStatus) -> str:
    """Return what the rate of `model` counts."""
    kind = MODEL_KINDS.get(model.kind)
    return kind.unit if kind is not None else "tasks"


def abilities(model: pb.ModelStatus) -> list[str]:
    """Return what `model` can do, by the names that tasks ask for; empty if that is not known."""
    return [word(pb.Capability, number) for number in sorted(capabilities_of(model) or ())]


def how(model: pb.ModelStatus) -> str:
    """Return what runs `model`, and why so."""
    parts = [shown(model.engine), shown(model.choice, MESSAGE)]
    return ": ".join(part for part in parts if part)


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit in ("B", "KiB") else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} EiB"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = [(days, "d"), (hours, "h"), (rest // 60, "min"), (rest % 60, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "0 s"
