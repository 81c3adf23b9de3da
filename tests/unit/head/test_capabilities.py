"""Tasks go to models that can do them on workers with their tags; a refusal says who could."""

import pytest

from daiic.model_identity import ASPECTS
from daiic.wire import daiic_pb2 as pb

PICTURE = pb.ContentPart(image=pb.Media(data=b"\x89PNG", type="image/png"))
LOOK = pb.TextTask(messages=[pb.ChatMessage(role="user", parts=[PICTURE])])
LONG = pb.ModelIdentity(**dict.fromkeys(ASPECTS, "x" * 1000))
CALL = pb.TextTask(messages=[pb.ChatMessage(content="hi")], tools=[pb.Tool(name="f")])


def model(name="m", *capabilities, state=pb.LOADED, kind=pb.TEXT, **fields):
    return pb.ModelStatus(name=name, state=state, kind=kind, capabilities=capabilities, **fields)


def test_only_a_worker_whose_model_can_gets_the_task(cluster):
    blind = cluster.worker("blind", [model("m", pb.CHAT)], slots=99)
    seeing = cluster.worker("seeing", [model("m", pb.CHAT, pb.SEE, state=pb.AVAILABLE)])
    cluster.client().ask(text=LOOK)
    assert seeing.task().text.messages == LOOK.messages
    assert not blind.tasks()


def test_what_the_model_cannot_do_is_refused_at_once_with_models_that_can(cluster):
    cluster.worker("w", [model("tiny-chat")])
    cluster.worker("lab2", [model("gemma-3", pb.CHAT, pb.SEE), model("other", pb.CHAT)])
    client = cluster.client()
    task_id = client.ask("tiny-chat", text=LOOK)
    error = client.error()
    assert (error.id, error.code) == (task_id, pb.UNSUPPORTED)
    assert error.message == "tiny-chat cannot see images"
    assert error.remedy == "models that can: gemma-3 on worker lab2"


def test_what_no_model_of_the_cluster_can_do_is_refused_with_a_remedy(cluster):
    cluster.worker("w", [model("m", pb.CHAT), model("n", pb.CHAT, pb.TOOLS)])
    client = cluster.client()
    client.ask(text=pb.TextTask(messages=[pb.ChatMessage(parts=[PICTURE])], tools=CALL.tools))
    error = client.error()
    assert error.code == pb.UNSUPPORTED
    assert error.message == (
        "m cannot see images or call tools, and no other model of this cluster can"
    )
    assert "add a model" in error.remedy


@pytest.mark.parametrize(
    ("kind", "work", "can"),
    [
        (pb.TEXT, {"text": pb.TextTask(prompt="p")}, True),
        (pb.TEXT, {"text": pb.TextTask(messages=[pb.ChatMessage(content="c")])}, True),
        (pb.TEXT, {"embed": pb.EmbedTask(inputs=["i"])}, True),
        (pb.TEXT, {"image": pb.ImageTask(prompt="p")}, False),
        (pb.TEXT, {"text": CALL}, False),
        (pb.IMAGE, {"image": pb.ImageTask(prompt="p")}, True),
        (pb.IMAGE, {"image": pb.ImageTask(image=pb.Media(data=b"i"))}, False),
        (pb.IMAGE, {"text": pb.TextTask(prompt="p")}, False),
        (pb.EMBEDDING, {"embed": pb.EmbedTask(inputs=["i"])}, True),
        (pb.EMBEDDING, {"text": pb.TextTask(prompt="p")}, False),
        (pb.TRANSCRIPTION, {"transcribe": pb.TranscribeTask()}, True),
        (pb.TEXT, {"transcribe": pb.TranscribeTask()}, False),
        (pb.SPEECH, {"speak": pb.SpeakTask(input="s")}, True),
        (pb.RERANKING, {"rerank": pb.RerankTask(documents=["d"])}, True),
        (pb.EMBEDDING, {"rerank": pb.RerankTask(documents=["d"])}, False),
        (pb.EMBEDDING, {"embed": pb.EmbedTask(inputs=["i"], dimensions=8)}, False),
        (pb.IMAGE, {"load": pb.LoadTask()}, True),
        (pb.MODEL_KIND_UNSPECIFIED, {"text": CALL}, True),
    ],
)
def test_a_model_that_tells_nothing_can_do_what_its_kind_can(cluster, kind, work, can):
    worker, client = cluster.worker(models=[model(kind=kind)]), cluster.client()
    client.ask(**work)
    assert len(worker.tasks()) == can
    assert [error.code for error in client.errors()] == [pb.UNSUPPORTED] * (not can)


def test_a_model_that_nobody_has_on_disk_is_tried(cluster):
    worker = cluster.worker(models=[], can_download=True)
    cluster.client().ask("owner/name", text=LOOK)
    assert worker.task().model == "owner/name"


def test_a_model_that_is_known_to_lack_something_is_not_downloaded_for_it(cluster):
    cluster.worker("has", [model("owner/name", pb.CHAT)])
    other, client = cluster.worker("other", models=[], can_download=True), cluster.client()
    client.ask("owner/name", text=LOOK)
    assert client.error().code == pb.UNSUPPORTED
    assert not other.tasks()


@pytest.mark.parametrize("choice", [{"worker_id": "other"}, {"tags": ["b"]}])
def test_what_a_model_lacks_elsewhere_is_said_of_a_worker_that_would_download_it(cluster, choice):
    cluster.worker("has", [model("owner/name", pb.CHAT)])
    other = cluster.worker("other", models=[], can_download=True, tags=["b"])
    client = cluster.client()
    client.ask("owner/name", text=LOOK, **choice)
    error = client.error()
    assert (error.code, "cannot see images" in error.message) == (pb.UNSUPPORTED, True)
    assert not other.tasks()


def test_a_pinned_worker_is_asked_for_no_more_than_it_can(cluster):
    cluster.worker("blind", [model("m", pb.CHAT)])
    seeing = cluster.worker("seeing", [model("m", pb.CHAT, pb.SEE)])
    client = cluster.client()
    client.ask(text=LOOK, worker_id="blind")
    assert client.error().code == pb.UNSUPPORTED
    client.ask(text=LOOK, worker_id="seeing")
    assert seeing.tasks()


def test_a_task_that_waits_for_a_capable_worker_holds_up_no_other(cluster):
    blind = cluster.worker("blind", [model("m", pb.CHAT, pb.COMPLETE)], slots=1)
    seeing = cluster.worker("seeing", [model("m", pb.CHAT, pb.SEE)], slots=1)
    client = cluster.client()
    client.ask(text=LOOK)
    waiting = client.ask(text=LOOK)
    client.ask()
    assert len(blind.tasks()) == 1
    seeing.answer(seeing.task())
    assert seeing.tasks()
    assert waiting not in [error.id for error in client.errors()]


def test_a_worker_whose_model_lost_the_ability_leaves_waiting_tasks_an_error(cluster):
    worker, client = cluster.worker(models=[model("m", pb.CHAT, pb.SEE)], slots=1), cluster.client()
    client.ask(text=LOOK)
    waiting = client.ask(text=LOOK)
    del worker.heartbeat.models[:]
    worker.heartbeat.models.append(model("m", pb.CHAT))
    cluster.pass_time(13)
    error = client.error()
    assert (error.id, error.code) == (waiting, pb.UNSUPPORTED)


# ------------------------------------------------------------------------ tags


def test_only_workers_with_all_tags_get_the_task(cluster):
    some = cluster.worker("some", tags=["eu"], slots=99)
    every = cluster.worker("every", tags=["eu", "fast", "more"])
    cluster.client().ask(tags=["fast", "eu"])
    assert every.tasks() and not some.tasks()


def test_tags_that_no_worker_has_are_named(cluster):
    cluster.worker("a", tags=["eu"])
    client = cluster.client()
    client.ask(tags=["us", "eu", "fast"])
    error = client.error()
    assert error.code == pb.NO_WORKER
    assert error.message == 'no worker has the tags "fast", "us"'
    assert '"eu"' in error.remedy


def test_tags_that_no_worker_has_together_are_named(cluster):
    cluster.worker("a", tags=["eu"])
    cluster.worker("b", tags=["fast"])
    client = cluster.client()
    client.ask(tags=["fast", "eu"])
    assert client.error().message == 'no worker has all of the tags "eu", "fast"'


def test_a_model_that_only_workers_without_the_tags_have_is_not_found(cluster):
    cluster.worker("a", models=("m",))
    cluster.worker("b", models=("n",), tags=["eu"])
    client = cluster.client()
    client.ask("m", tags=["eu"])
    error = client.error()
    assert error.code == pb.MODEL_NOT_FOUND
    assert error.message == 'no worker with the tags "eu" has the model "m"'


def test_tags_and_capabilities_of_a_hostile_worker_are_cut(cluster):
    limits = cluster.limits
    cluster.worker(
        "w",
        [model("m", *[pb.CHAT] * 1000, identity=LONG)],
        tags=["t" * 500] * 100,
    )
    (worker,) = cluster.client().status().workers
    beat = worker.heartbeat
    assert len(beat.tags) == limits.tags and len(beat.tags[0]) == limits.name
    assert len(beat.models[0].capabilities) == limits.capabilities
    identity = beat.models[0].identity
    assert {len(getattr(identity, aspect)) for aspect in ASPECTS} == {limits.name}
