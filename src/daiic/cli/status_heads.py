"""The heads that exchange their state, in `daiic status`."""

from rich.table import Table
from rich.text import Text

from daiic.shown import shown, word
from daiic.wire import daiic_pb2 as pb


def heads_view(heads: list[pb.HeadStatus]) -> Table | None:
    """Return a table of `heads`, of which the first tells of them; nothing if that is alone."""
    if len(heads) < 2:
        return None
    table = Table(header_style="bold")
    for name in ("head", "load", "way"):
        table.add_column(name, no_wrap=True)
    for head in heads:
        table.add_row(_who(head), _load(head), _way(head))
    return table


def _who(head: pb.HeadStatus) -> Text:
    who = Text(shown(head.address) if head.address else "the one that tells this", style="bold")
    return who.append(f"\n{shown(head.id)}", style="not bold dim")


def _load(head: pb.HeadStatus) -> Text:
    state = word(pb.WorkerState, head.state) if head.state else "not told yet"
    load = Text(state, style="green" if head.state == pb.READY else "yellow")
    if head.master:
        load.append(", master", style="default")
    tasks = f"{head.in_flight} in flight, {head.queued} queued"
    return load.append(f"\n{tasks} · workers: {head.workers}", style="default")


def _way(head: pb.HeadStatus) -> Text:
    version = f"daiic {shown(head.version)}" if head.version else ""
    if not head.address:
        return Text(version, style="dim")
    way = f"{head.rtt_ms:.1f} ms away, heard {head.age_ms / 1000:.1f} s ago"
    return Text(way).append(f"\n{version}", style="dim")
