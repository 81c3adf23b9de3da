"""How workers and DCF's nodes stand in the mesh, in `daiic status`."""

from io import StringIO

from rich.console import Console

from daiic.cli.status import cluster_view
from daiic.wire import daiic_pb2 as pb


def printed(status: pb.ClusterStatus) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(cluster_view(status))
    text = console.file.getvalue()
    assert isinstance(text, str)
    return " ".join(text.replace("│", " ").split())


def of(worker: pb.WorkerStatus) -> str:
    worker.heartbeat.worker_id = "w"
    return printed(pb.ClusterStatus(workers=[worker]))


def test_a_worker_has_its_group_and_role() -> None:
    text = of(pb.WorkerStatus(rtt_ms=80.2, group=1, role=pb.RELAY, health=pb.HEALTHY))
    assert "80.2 ms away group 1, relay" in text
    assert "healthy" not in text


def test_the_nearest_group_is_named_too() -> None:
    assert "group 0, leaf" in of(pb.WorkerStatus(group=0, role=pb.LEAF, health=pb.HEALTHY))


def test_what_is_wrong_with_the_way_is_said() -> None:
    text = of(pb.WorkerStatus(group=-1, role=pb.LEAF, health=pb.UNREACHABLE))
    assert "leaf, unreachable" in text and "group" not in text


def test_heads_that_tell_nothing_of_it_make_no_difference() -> None:
    text = of(pb.WorkerStatus(rtt_ms=1))
    assert not {"group", "leaf", "healthy", "role_unspecified"} & set(text.split())


def test_nodes_of_other_implementations_are_listed() -> None:
    node = pb.NodeStatus(
        node=7, address="192.0.2.7:7000", role=pb.RELAY, master=0, age_ms=400, peers=2
    )
    assert (
        "node 7 · relay, follows 0 · reaches 2 nodes · 192.0.2.7:7000 · heard 0.4 s ago"
        in printed(pb.ClusterStatus(nodes=[node]))
    )
