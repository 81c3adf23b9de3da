"""Models that a real worker downloads with the real client library, from a hub on loopback."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.models import tiny_gguf
from support.peers.fake_hub import TOKEN, FakeHub, Repository, folder


@pytest.fixture(scope="module")
def hub(models_dir):
    tiny = folder(models_dir / "tiny")
    pickled = {
        name.replace("model.safetensors", "pytorch_model.bin"): content
        for name, content in tiny.items()
    }
    hub = FakeHub(
        {
            "owner/tiny": Repository({**tiny, "pytorch_model.bin": b"\x80", "README.md": b"#"}),
            "owner/slow": Repository(tiny, pause=0.15),
            "owner/gated": Repository(tiny, gated=True),
            "owner/pickled": Repository(pickled),
            "owner/down": Repository(tiny, status=500),
            "owner/refused": Repository(tiny, status=429),
        }
    )
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def head(start):
    return start("head")


@pytest.fixture(scope="module")
def begin(start, head, hub, tmp_path_factory):
    def worker(environment=None, **settings):
        given = {"models_dir": tmp_path_factory.mktemp("none"), "ram_limit": 1 << 30, **settings}
        env = {"HF_ENDPOINT": hub.endpoint, **(environment or {})}
        daemon = start("worker", env, heads=[head.address], quantization="none", **given)
        daemon.said("serving")
        return daemon

    return worker


@pytest.fixture(scope="module")
def worker(begin):
    return begin()


@pytest.fixture
async def client(head):
    async with ClusterClient([head.address]) as client:
        yield client


def load(model, worker):
    return pb.Task(model=model, worker_id=worker.worker_id, load=pb.LoadTask())


async def refusal(client, model, worker):
    with pytest.raises(TaskError) as caught:
        await client.answer(load(model, worker))
    assert caught.value.remedy
    return caught.value


@pytest.fixture(scope="module")
def ggufs(hub, tmp_path_factory):
    """Add repositories of GGUF files to the hub."""
    place = tmp_path_factory.mktemp("ggufs")
    tiny_gguf.chat_model(place / "Tiny-BF16.gguf", parts=2)
    tiny_gguf.chat_model(place / "Tiny-Q8_0.gguf", quantization=GGMLQuantizationType.Q8_0)
    files = folder(place)
    hub.repositories["owner/chat-GGUF"] = Repository({**files, "config.json": b"{}"})
    hub.repositories["owner/chat"] = hub.repositories["owner/tiny"]
    hub.repositories["owner/both"] = Repository({**hub.repositories["owner/tiny"].files, **files})
    return hub


async def test_quantisation_of_a_gguf_repository_is_downloaded_by_its_tag(
    client, worker, ggufs, begin
):
    ggufs.requested.clear()
    model = "hf.co/owner/chat-GGUF:bf16"
    text = pb.TextTask(prompt="go", max_tokens=5)
    async with ClusterClient([worker.address]) as direct:
        result = await direct.answer(pb.Task(model=model, text=text))
    assert result.usage.completion_tokens > 0
    parts = {f"Tiny-BF16-0000{number}-of-00002.gguf" for number in (1, 2)}
    assert {f for f in ggufs.requested if f.endswith(".gguf")} == parts
    told = await once_loaded(client, worker, "owner/chat-GGUF:BF16")
    assert told["owner/chat-GGUF:BF16"].quantization == "BF16"
    error = await refusal(client, "owner/chat-GGUF:Q2_K", worker)
    assert error.code == pb.MODEL_NOT_FOUND and "BF16, Q8_0" in error.remedy


@pytest.mark.parametrize(
    ("model", "here"),
    [
        ("owner/chat-GGUF", "owner/chat-GGUF:Q8_0"),
        ("owner/chat", "owner/chat-GGUF:Q8_0"),
        ("owner/both", "owner/both:Q8_0"),
    ],
)
async def test_worker_without_a_gpu_takes_a_gguf_of_the_model_that_is_named(
    client, begin, ggufs, tmp_path, model, here
):
    ggufs.requested.clear()
    worker = begin(cache_dir=tmp_path / "cache")
    await client.answer(load(model, worker))
    assert not any(name.endswith(".safetensors") for name in ggufs.requested)
    told = await once_loaded(client, worker, here)
    # Under both names, and in memory once.
    assert told[model].state == pb.LOADED
    assert told[here].bytes and not told[model].bytes
    assert told[here].quantization == "Q8_0"
    worker.signal(signal.SIGTERM)
    offline = begin({"HF_ENDPOINT": "http://127.0.0.1:9"}, cache_dir=tmp_path / "cache")
    assert (await client.answer(load(model, offline))).final
    offline.signal(signal.SIGTERM)


async def test_what_was_downloaded_is_pinned_unloaded_and_deleted(
    client, begin, head, ggufs, tmp_path
):
    worker = begin(cache_dir=tmp_path / "cache")
    model = "owner/chat-GGUF:Q8_0"

    async def models(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("daiic"), "models", *words),
            *(f"--worker={worker.worker_id}", f"--head={head.address}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return (await process.communicate())[0].decode()

    await client.answer(load(model, worker))
    await once_loaded(client, worker, model)
    assert "stays in memory" in await models("pin", model)
    assert (await once_loaded(client, worker, model))[model].pinned
    assert "has left memory" in await models("unload", model)
    assert "is deleted" in await models("delete", model)
    assert not list((tmp_path / "cache").rglob("*.gguf"))
    assert "no worker" in await models("delete", model)
    worker.signal(signal.SIGTERM)


async def test_named_model_is_downloaded_loaded_and_answers(client, worker, hub):
    task = pb.Task(
        model="owner/tiny", worker_id=worker.worker_id, text=pb.TextTask(prompt="go", max_tokens=5)
    )
    result = await client.answer(task)
    assert result.usage.completion_tokens > 0
    assert "model.safetensors" in hub.requested
    assert "pytorch_model.bin" not in hub.requested and "README.md" not in hub.requested


async def test_download_tells_how_far_it_is(client, worker):
    task = load("owner/slow", worker)
    task.stream = True
    parts = [part async for part in client.run(task)]
    steps = [p.progress for p in parts if p.HasField("progress") and p.progress.phase == "download"]
    partial = [step for step in steps if 0 < step.done < step.total]
    assert partial and parts[-1].final
    assert sorted(step.done for step in steps) == [step.done for step in steps]


async def test_gated_model_without_a_token_is_refused_with_the_setting_to_set(client, worker):
    error = await refusal(client, "owner/gated", worker)
    assert error.code == pb.MODEL_GATED
    for words in ("hf_token_file", "HF_TOKEN", "services.daiic.worker.hfTokenFile", "/owner/gated"):
        assert words in error.remedy


async def test_token_opens_gated_models_and_shows_nowhere(client, begin, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    worker = begin(hf_token_file=str(file), log_level="debug")
    assert (await client.answer(load("owner/gated", worker))).final
    status = await client.answer(pb.Task(status=pb.StatusTask()))
    assert TOKEN not in worker.log and TOKEN not in str(status)
    worker.signal(signal.SIGTERM)


async def test_token_that_does_not_open_a_model_is_told_from_none(client, begin):
    worker = begin({"HF_TOKEN": "hf_AnotherToken"})
    error = await refusal(client, "owner/gated", worker)
    assert error.code == pb.MODEL_GATED and "no access to it" in error.message
    assert "hf_AnotherToken" not in str(error) + worker.log
    worker.signal(signal.SIGTERM)


async def test_pickled_weights_are_not_downloaded(client, worker, hub):
    error = await refusal(client, "owner/pickled", worker)
    assert error.code == pb.UNSAFE_WEIGHTS and "pytorch_model.bin" not in hub.requested


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("owner/missing", pb.MODEL_NOT_FOUND, "has no model owner/missing"),
        ("owner/down", pb.INTERNAL, "answered 500"),
        ("owner/refused", pb.INTERNAL, "limits this worker's requests"),
    ],
)
async def test_what_the_hub_refuses_is_explained(client, worker, model, code, words):
    error = await refusal(client, model, worker)
    assert error.code == code and words in error.message


async def test_downloaded_model_is_served_when_the_hub_is_gone(client, begin, worker):
    await client.answer(load("owner/tiny", worker))
    offline = begin({"HF_ENDPOINT": "http://127.0.0.1:9"}, cache_dir=worker.settings["cache_dir"])
    assert (await client.answer(load("owner/tiny", offline))).final
    error = await refusal(client, "owner/other", offline)
    assert "cannot be reached" in error.message
    offline.signal(signal.SIGTERM)


async def test_worker_that_may_not_download_says_so(begin):
    worker = begin(allow_downloads=False)
    # A head would not even ask it.
    async with ClusterClient([worker.address]) as direct:
        error = await refusal(direct, "owner/tiny", worker)
    assert error.code == pb.MODEL_NOT_FOUND and "allow_downloads = true" in error.remedy
    worker.signal(signal.SIGTERM)


async def test_full_disk_is_found_out_before_the_download(client, begin, hub):
    huge = Repository({"config.json": b"{}", "model.safetensors": b""})
    hub.repositories["owner/huge"] = huge
    huge.files["model.safetensors"] = _Huge()
    error = await refusal(client, "owner/huge", begin())
    assert error.code == pb.INTERNAL and "GB" in error.remedy and "cache_dir" in error.remedy


class _Huge(bytes):
    def __len__(self) -> int:
        return 1 << 60


async def test_interrupted_download_is_taken_up_again(client, begin, hub, tmp_path):
    worker = begin(cache_dir=tmp_path / "cache", drain_timeout=0.1)
    running = asyncio.create_task(client.answer(load("owner/slow", worker)))
    weights = tmp_path / "cache" / "models--owner--slow" / "blobs"
    for _ in range(200):
        if list(weights.glob("*.incomplete")):
            break
        await asyncio.sleep(0.05)
    worker.signal(signal.SIGTERM)
    # Neither the download nor its threads keep it from ending.
    assert await worker.ended() == 0
    running.cancel()
    again = begin(cache_dir=tmp_path / "cache")
    states = {m.name: m.state for m in await models_of(client, again)}
    assert states.get("owner/slow") is None
    assert (await client.answer(load("owner/slow", again))).final
    again.signal(signal.SIGTERM)


async def models_of(client, worker):
    status = (await client.answer(pb.Task(status=pb.StatusTask()))).status
    for found in status.workers:
        if found.heartbeat.worker_id == worker.worker_id:
            return found.heartbeat.models
    raise AssertionError("the worker is not registered")


async def once_loaded(client, worker, name):
    """Return what the head knows of the worker's models when it knows that `name` is loaded."""
    for _ in range(200):
        told = {model.name: model for model in await models_of(client, worker)}
        if name in told and told[name].state == pb.LOADED:
            return told
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is not loaded: {told}")
