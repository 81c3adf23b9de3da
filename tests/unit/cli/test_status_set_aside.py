"""Workers that are set aside, in `daiic status`: why, and until when."""

from io import StringIO

from rich.console import Console

from daiic.cli.status import cluster_view
from daiic.wire import daiic_pb2 as pb


def printed(aside: pb.SetAside | None) -> str:
    status = pb.ClusterStatus()
    status.workers.add(heartbeat=pb.Heartbeat(worker_id="w"), set_aside=aside)
    console = Console(file=StringIO(), width=160)
    console.print(cluster_view(status))
    text = console.file.getvalue()
    assert isinstance(text, str)
    return " ".join(text.replace("│", " ").split())


def test_it_is_said_why_a_worker_gets_no_tasks_and_for_how_long() -> None:
    text = printed(pb.SetAside(reason="failed 3 times", failures=3, retry_ms=11_001))
    assert "set aside for 12 s" in text and "failed 3 times" in text


def test_one_that_may_be_tried_is_said_to_be() -> None:
    assert "set aside until tried" in printed(pb.SetAside(reason="failed", failures=3))


def test_nothing_is_said_of_others() -> None:
    assert "aside" not in printed(None)


def test_tasks_that_were_hedged_are_counted_if_there_are_any() -> None:
    for hedged, shown in ((0, False), (3, True)):
        console = Console(file=StringIO(), width=160)
        console.print(cluster_view(pb.ClusterStatus(tasks_hedged=hedged)))
        assert ("3 hedged" in console.file.getvalue()) == shown  # type: ignore[attr-defined]
