"""The policy in force, in `daiic status`."""

from io import StringIO

from rich.console import Console

from daiic.cli.status import cluster_view
from daiic.wire import daiic_pb2 as pb


def printed(status: pb.ClusterStatus) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(cluster_view(status))
    text = console.file.getvalue()
    assert isinstance(text, str)
    return text


def test_the_policy_in_force_is_named() -> None:
    policy = pb.PolicyStatus(name="house\x1b[2J", digest="58b05636026b" + 52 * "0", rules=3)
    text = printed(pb.ClusterStatus(policy=policy))
    assert "policy house\\x1b[2J · 3 rules · 58b05636026b\n" in text and "\x1b" not in text
    assert "policy" not in printed(pb.ClusterStatus())


def test_mistakes_of_one_that_was_refused_are_told() -> None:
    refused = "\n".join(f"a.policy:{line}:1: wrong; right" for line in range(1, 9))
    policy = pb.PolicyStatus(name="house", digest=64 * "0", rules=3, refused=refused)
    text = printed(pb.ClusterStatus(policy=policy))
    assert "was refused:" in text and "a.policy:5:1: wrong; right" in text
    assert "a.policy:6" not in text and "and 3 more" in text
