"""Heads that exchange their state, in `daiic status`."""

from io import StringIO

from rich.console import Console

from daiic.cli.status import cluster_view
from daiic.wire import daiic_pb2 as pb


def printed(*heads: pb.HeadStatus) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(cluster_view(pb.ClusterStatus(heads=heads)))
    text = console.file.getvalue()
    assert isinstance(text, str)
    return " ".join(text.replace("│", " ").split())


OWN = pb.HeadStatus(id="a1", state=pb.READY, version="1.0", workers=2)


def test_heads_are_listed_with_their_load_and_who_is_the_master() -> None:
    text = printed(
        OWN,
        pb.HeadStatus(
            id="b2",
            address="10.0.0.2:7717",
            state=pb.DRAINING,
            master=True,
            in_flight=3,
            queued=4,
            workers=5,
            rtt_ms=1.25,
            age_ms=700,
        ),
    )
    assert "a1" in text and "b2" in text and "10.0.0.2:7717" in text
    assert "draining, master" in text and "ready, master" not in text
    assert "3 in flight, 4 queued · workers: 5" in text
    assert "1.2 ms away, heard 0.7 s ago" in text


def test_one_that_has_told_nothing_yet_is_said_to_have_not() -> None:
    assert "not told yet" in printed(OWN, pb.HeadStatus(id="b2", address="10.0.0.2:7717"))


def test_of_a_head_that_is_alone_nothing_is_said() -> None:
    assert "a1" not in printed(OWN)
