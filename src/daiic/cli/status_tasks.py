"""The tasks that are not over, and why one is where it is, as `daiic status` shows them."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daiic.shown import MESSAGE, shown
from daiic.wire import daiic_pb2 as pb


def tasks_view(status: pb.ClusterStatus) -> RenderableType:
    """Return a table of the tasks that the head tells of, or why there is none."""
    if not status.tasks:
        busy = status.in_flight or status.queued
        why = "this head does not tell of its tasks" if busy else "no task is waiting or running"
        return Text(why, style="dim")
    names = {worker.heartbeat.worker_id: worker.heartbeat.name for worker in status.workers}

    def name(worker_id: str) -> str:
        return shown(names.get(worker_id) or worker_id)

    table = Table(header_style="bold")
    table.add_column("task", justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("model", overflow="fold")
    table.add_column("worker", overflow="fold")
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("attempts", justify="right", no_wrap=True)
    for task in status.tasks:
        where = name(task.worker_id) if task.worker_id else "waits"
        if task.hedge_worker_id:
            where += f" and {name(task.hedge_worker_id)}"
        if task.awaits_worker_id:
            where += f" for {name(task.awaits_worker_id)}, which has read its prompt"
        cells = (str(task.number), shown(task.kind), shown(task.model), where)
        table.add_row(*map(Text, cells), f"{task.age_ms / 1000:.1f} s", str(task.attempts))
    return table


def explanation_view(status: pb.ClusterStatus, number: int) -> RenderableType:
    """Return what speaks for and against each worker for task `number`."""
    if not status.HasField("explanation"):
        return Text(
            f"the head tells nothing of a task {number}: it is over, or the head is one that does "
            "not explain what it does, as HydraMesh does; `daiic status --tasks` lists them",
            style="yellow",
        )
    explained = status.explanation
    table = Table(header_style="bold")
    table.add_column("worker", max_width=24, overflow="ellipsis", no_wrap=True)
    table.add_column("done in", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for verdict in explained.verdicts:
        who = Text(
            shown(verdict.name or verdict.worker_id), style="green" if verdict.chosen else ""
        )
        why = Text(shown(verdict.reason, MESSAGE))
        for rule in _rules(verdict.rules):
            why.append(f"\n  {rule}", style="dim")
        table.add_row(who, f"{verdict.seconds:.2f} s" if verdict.seconds else "", why)
    rules = [Text(f"  {rule}", style="dim") for rule in _rules(explained.rules)]
    return Group(Text(f"task {explained.number}", style="bold"), *rules, table)


def _rules(rules: Iterable[str]) -> list[str]:
    return [shown(rule, MESSAGE) for rule in rules]
