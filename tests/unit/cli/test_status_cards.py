"""Graphics cards in `daiic status`: what was measured with its units, and nothing else."""

from io import StringIO

from rich.console import Console

from daiic.cli.status import cluster_view
from daiic.wire import daiic_pb2 as pb


def printed(*cards: pb.Card) -> str:
    status = pb.ClusterStatus()
    status.workers.add().heartbeat.cards.extend(cards)
    console = Console(file=StringIO(), width=160)
    console.print(cluster_view(status))
    text = console.file.getvalue()
    assert isinstance(text, str)
    return text


def test_each_card_is_shown_with_what_was_measured() -> None:
    memory = pb.Memory(total=24 << 30, free=6 << 30)
    full = pb.Card(name="RTX 3090", vram=memory, temperature=61, power=240, power_limit=350, load=1)
    text = printed(full, pb.Card(name="RX 7900", power=55.4))
    assert "6.0 GiB free · 100% busy · 61 °C · 240 of 350 W" in text
    assert "55 W" in text and "55 of" not in text


def test_a_card_of_which_nothing_is_known_says_so() -> None:
    text = printed(pb.Card(name="\x1b[2Jodd"))
    assert "not measured" in text
    assert "\x1b" not in text and "\\x1b[2Jodd" in text
