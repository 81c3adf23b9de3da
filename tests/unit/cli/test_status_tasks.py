"""`daiic status --tasks` and `--explain`: what runs, and why there."""

from io import StringIO

from rich.console import Console, RenderableType

from daiic.cli.status_tasks import explanation_view, tasks_view
from daiic.wire import daiic_pb2 as pb


def printed(view: RenderableType) -> str:
    console = Console(file=StringIO(), width=160)
    console.print(view)
    text = console.file.getvalue()
    assert isinstance(text, str)
    return text


def row(text: str, first: str) -> list[str]:
    """Return the cells of the row that begins with `first`."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    return next(cells for cells in rows if cells and cells[0] == first)


def test_tasks_are_listed_with_where_they_run() -> None:
    status = pb.ClusterStatus(in_flight=3)
    status.workers.add(heartbeat=pb.Heartbeat(worker_id="w1", name="attic"))
    status.tasks.add(
        number=7, kind="text", model="m\x1b[2J", worker_id="w1", hedge_worker_id="w2", attempts=2
    )
    status.tasks.add(number=8, kind="image", model="n", age_ms=1500)
    status.tasks.add(number=9, kind="text", model="m", awaits_worker_id="w1")
    text = printed(tasks_view(status))
    assert row(text, "7") == ["7", "text", "m\\x1b[2J", "attic and w2", "0.0 s", "2"]
    assert row(text, "8") == ["8", "image", "n", "waits", "1.5 s", "0"]
    assert row(text, "9")[3] == "waits for attic, which has read its prompt"
    assert "\x1b" not in text


def test_why_there_are_none_is_said() -> None:
    assert printed(tasks_view(pb.ClusterStatus())) == "no task is waiting or running\n"
    silent = printed(tasks_view(pb.ClusterStatus(queued=1)))
    assert silent == "this head does not tell of its tasks\n"


def test_an_explanation_has_each_worker_with_its_rules() -> None:
    status = pb.ClusterStatus(explanation=pb.Explanation(number=7, rules=["prefers night"]))
    status.explanation.verdicts.add(
        worker_id="w1", name="at[red]tic", chosen=True, reason="runs here", seconds=1.25
    )
    status.explanation.verdicts.add(
        worker_id="w2", reason="has not the model\x1b[2J", rules=["solar: x 0.5"]
    )
    text = printed(explanation_view(status, 7))
    assert "task 7\n  prefers night\n" in text and "\x1b" not in text
    assert row(text, "at[red]tic") == ["at[red]tic", "1.25 s", "runs here"]
    assert row(text, "w2") == ["w2", "", "has not the model\\x1b[2J"]
    assert row(text, "") == ["", "", "solar: x 0.5"]


def test_a_task_that_is_over_is_not_explained() -> None:
    assert "nothing of a task 7: it is over" in printed(explanation_view(pb.ClusterStatus(), 7))
