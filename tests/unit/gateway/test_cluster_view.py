"""What is made of the head's status: models, advice, labels."""

import asyncio

import pytest

from daiic.errors import TaskError
from daiic.gateway.monitoring import cluster_view
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.wire import daiic_pb2 as pb


class Head:
    """Stands in for the client: answers with `status`, or raises it."""

    def __init__(self) -> None:
        self.status_now: pb.ClusterStatus | TaskError = pb.ClusterStatus()
        self.asked = 0

    async def status(self) -> pb.ClusterStatus:
        self.asked += 1
        if isinstance(self.status_now, TaskError):
            raise self.status_now
        return self.status_now


def with_models(*states: pb.ModelState) -> pb.ClusterStatus:
    status = pb.ClusterStatus()
    for state in states:
        models = [pb.ModelStatus(name="m", kind=pb.TEXT, state=state)]
        status.workers.add(heartbeat=pb.Heartbeat(models=models, tokens_per_second=10))
    return status


@pytest.fixture
def head() -> Head:
    return Head()


@pytest.fixture
async def view(head: Head, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster_view, "INTERVAL", 0.01)
    monkeypatch.setattr(cluster_view, "IDLE_INTERVAL", 0.02)
    view = ClusterView(head)
    following = asyncio.create_task(view.follow())
    yield view
    following.cancel()


async def fresh(view: ClusterView) -> None:
    """Wait until the head has been asked twice more: once may have been under way."""
    updates = view.updates()
    for _ in range(3):
        await anext(updates)


@pytest.mark.parametrize(
    ("states", "best"),
    [
        ((pb.AVAILABLE, pb.LOADED, pb.LOADING), "loaded"),
        ((pb.FAILED, pb.LOADING, pb.AVAILABLE), "loading"),
        ((pb.FAILED, pb.AVAILABLE), "available"),
    ],
)
async def test_a_model_has_the_best_state_of_all_workers(view, head, states, best) -> None:
    head.status_now = with_models(*states)
    await fresh(view)
    assert [(m.name, m.state_name, m.kind_name) for m in view.usable] == [("m", best, "text")]


async def test_a_model_that_failed_everywhere_cannot_be_asked_for(view, head) -> None:
    head.status_now = with_models(pb.FAILED, pb.FAILED)
    await fresh(view)
    assert view.usable == [] and view.label("m") == "m"


async def test_a_model_can_do_what_any_worker_says_on_which_it_has_not_failed(view, head) -> None:
    status = with_models(pb.LOADED, pb.AVAILABLE, pb.FAILED)
    for worker, capabilities in zip(
        status.workers, ((pb.TOOLS, pb.CHAT), (pb.SEE, pb.CHAT), (pb.HEAR,)), strict=True
    ):
        worker.heartbeat.models[0].capabilities.extend(capabilities)
    head.status_now = status
    await fresh(view)
    assert view.models["m"].capability_names == ["chat", "see", "tools"]


async def test_a_model_of_no_known_kind_is_not_said_to_do_anything(view, head) -> None:
    status = with_models(pb.AVAILABLE)
    status.workers[0].heartbeat.models[0].kind = pb.MODEL_KIND_UNSPECIFIED
    head.status_now = status
    await fresh(view)
    assert (view.models["m"].kind_name, view.models["m"].capability_names) == ("unknown", [])


async def test_labels_are_models_that_exist(view, head) -> None:
    head.status_now = with_models(pb.LOADED)
    await fresh(view)
    assert [view.label(name) for name in ("m", "other", None)] == ["m", "unknown", "unknown"]


async def test_a_head_that_goes_is_noticed_and_one_that_comes_back_too(view, head) -> None:
    head.status_now = with_models(pb.LOADED)
    await fresh(view)
    assert view.why_not_ready() is None
    head.status_now = TaskError(pb.HEAD_UNREACHABLE, "no head answers", "start one")
    await fresh(view)
    assert view.why_not_ready() == "no head answers: start one"
    head.status_now = with_models(pb.LOADED)
    await fresh(view)
    assert view.why_not_ready() is None


async def test_the_history_is_the_rate_of_all_workers(view, head) -> None:
    head.status_now = with_models(pb.LOADED, pb.LOADED, pb.LOADED)
    await fresh(view)
    assert view.history[-1].tokens_per_second == 30
    assert view.history.maxlen == cluster_view.HISTORY


def test_advice_follows_the_rate_at_which_the_queue_drains() -> None:
    clock = 1000.0
    view = ClusterView(Head(), lambda: clock)
    assert view.retry_after() == 2  # nothing measured yet
    for queued, done, advice in (
        (1000, 0, 2),
        (1000, 0, 10),  # nothing finishes
        (1000, 60, 5),  # a tenth of 1000, at 20 a second
        (10, 100_000, 1),
        (1_000_000, 100_001, 6),
    ):
        view.update(pb.ClusterStatus(queued=queued, tasks_done=done))
        assert view.retry_after() == advice
        clock += 1.5


async def test_a_model_in_a_state_of_a_newer_version_is_listed_as_unknown(head: Head) -> None:
    view = ClusterView(head)
    view.update(with_models(77))
    assert [(model.name, model.state_name) for model in view.usable] == [("m", "unknown")]
    view.update(with_models(77, pb.LOADED))
    assert view.models["m"].state_name == "loaded"


async def test_a_head_is_asked_seldom_while_nobody_wants_to_know(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_view, "INTERVAL", 0.01)
    monkeypatch.setattr(cluster_view, "IDLE_INTERVAL", 3600.0)
    monkeypatch.setattr(cluster_view, "AWAKE", 0.0)
    view = ClusterView(head)
    following = asyncio.create_task(view.follow())
    await asyncio.sleep(0.3)
    assert head.asked == 1
    head.status_now = with_models(pb.LOADED)
    await view.want()
    assert head.asked == 2 and view.usable, "whoever wants to know gets what is true now"
    with view.watched():
        await view.want()
        async with asyncio.timeout(30):
            while head.asked < 6:
                await asyncio.sleep(0.01)
    following.cancel()


async def test_the_chart_has_a_value_for_each_second_of_a_rest() -> None:
    times = [100.0, 101.0, 104.0, 105.0, 125.0]
    view = ClusterView(Head(), lambda: times.pop(0))
    while times:
        view.update(with_models(pb.LOADED))
    assert [measured.at for measured in view.history] == [100, 101, 102, 103, 104, 105, 125]


def test_a_model_with_an_adapter_is_a_model(view: ClusterView) -> None:
    able = [pb.CHAT, pb.COMPLETE, pb.EMBED, pb.ADAPTERS]
    status = pb.ClusterStatus()
    for adapters in (["pirate"], ["poet", "pirate"]):
        model = pb.ModelStatus(
            name="m", kind=pb.TEXT, state=pb.LOADED, capabilities=able, adapters=adapters
        )
        status.workers.add(heartbeat=pb.Heartbeat(models=[model]))
    view.update(status)
    assert set(view.models) == {"m", "m:pirate", "m:poet"}
    pirate = view.models["m:pirate"]
    assert (pirate.base, pirate.state_name, pirate.kind_name) == ("m", "loaded", "text")
    assert "embed" not in pirate.capability_names and "chat" in pirate.capability_names
    assert view.parts("m:pirate") == ("m", "pirate") and view.parts("m") == ("m", "")
    assert view.meant("M:poet") == "m:poet" and view.label("m:poet") == "m:poet"
    assert view.parts("m:other") == ("m:other", "")
