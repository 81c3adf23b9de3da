"""In `daiic status`: who has which layers of a model, and who lends memory."""

from io import StringIO

from rich.console import Console

from daiic.cli.status import cluster_view
from daiic.wire import daiic_pb2 as pb


def test_who_holds_which_layers_and_who_lends_is_shown() -> None:
    status = pb.ClusterStatus()
    beat = status.workers.add().heartbeat
    beat.shard.bytes = 3 << 30
    model = beat.models.add(name="m", state=pb.LOADED)
    model.shards.add(worker_id="a", name="attic", bytes=2 << 30, first_layer=0, layers=12)
    model.shards.add(worker_id="b", name="\x1b[2Jodd", bytes=1 << 30)
    console = Console(file=StringIO(), width=200)
    console.print(cluster_view(status))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "attic: layers 0 to 11, 2.0 GiB" in text
    assert "\\x1b[2Jodd: 1.0 GiB" in text and "\x1b" not in text
    assert "lends 3.0 GiB" in text


def test_who_holds_a_slice_of_which_layers_is_shown() -> None:
    status = pb.ClusterStatus()
    beat = status.workers.add().heartbeat
    beat.shard.slice_address, beat.shard.slice_bytes = "192.0.2.1:1", 3 << 30
    model = beat.models.add(name="m", state=pb.LOADED)
    model.shards.add(worker_id="a", name="attic", bytes=2 << 30, layers=12, slices=3)
    console = Console(file=StringIO(), width=200)
    console.print(cluster_view(status))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "attic: 1/3 of layers 0 to 11, 2.0 GiB" in text
    assert "slices up to 3.0 GiB" in text and "lends" not in text
