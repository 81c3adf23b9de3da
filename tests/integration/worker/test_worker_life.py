"""How a real worker starts, drains, dies, and what systemd hears of it."""

import asyncio
import signal

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.processes.daemon import PATIENCE


def story(max_tokens: int = 180) -> pb.Task:
    """An answer of `max_tokens` tokens."""
    return pb.Task(
        model="tiny", stream=True, text=pb.TextTask(prompt="go", seed=3, max_tokens=max_tokens)
    )


@pytest.fixture
def begin(start, models_dir):
    """Start a worker with the model `tiny` for a head."""

    def worker(head, environment=None, **settings):
        given = {"models_dir": models_dir, "models": ["tiny"], "ram_limit": 1 << 30, **settings}
        return start("worker", environment, heads=[head], **given)

    return worker


async def collect(stream, after: int = 0, act=lambda part: None):
    """Return all parts of a stream; `act` is called once, with the part that is number `after`."""
    parts = []
    async for part in stream:
        parts.append(part)
        if len(parts) == after:
            act(part)
    return parts


async def test_stream_survives_worker_kill(each_head, start, begin):
    head = start("head")
    workers = [begin(head.address) for _ in range(2)]
    for worker in workers:
        worker.said("serving")
    killed = []

    def kill(part: pb.Result) -> None:
        victim = next(worker for worker in workers if worker.worker_id == part.worker_id)
        victim.signal(signal.SIGKILL)
        victim.process.wait()
        killed.append(victim.worker_id)

    async with ClusterClient([head.address]) as client:
        whole = await collect(client.run(story()))
        broken = await collect(client.run(story()), after=5, act=kill)
    assert whole[-1].final and whole[-1].usage.completion_tokens == 180
    assert "".join(part.text for part in broken) == "".join(part.text for part in whole)
    assert [part.index for part in broken] == list(range(len(broken)))
    survivor = broken[-1].worker_id
    assert killed and survivor not in killed
    # Who goes on had the prompt in its cache, who began had not; all else is the same.
    for usage in (broken[-1].usage, whole[-1].usage):
        usage.ClearField("cached_tokens")
    assert broken[-1].usage == whole[-1].usage


async def test_running_tasks_finish_at_sigterm_and_new_ones_are_not_taken(start, begin, notify):
    head = start("head")
    worker = begin(head.address, {"NOTIFY_SOCKET": str(notify.path)})
    await notify.hears("READY=1")
    async with ClusterClient([head.address]) as client:
        parts = await collect(
            client.run(story()), after=3, act=lambda part: worker.signal(signal.SIGTERM)
        )
        assert parts[-1].final and sum(len(part.tokens) for part in parts) == 180
        assert await worker.ended() == 0
        status = (await client.answer(pb.Task(status=pb.StatusTask()))).status
    assert len(status.workers) == 0
    await notify.hears("STOPPING=1")
    assert "tasks given up" not in worker.log


async def test_task_that_outlives_the_drain_moves_to_another_worker(each_head, start, begin):
    head = start("head")
    workers = [begin(head.address, drain_timeout=0.05) for _ in range(2)]
    for worker in workers:
        worker.said("serving")

    def stop(part: pb.Result) -> None:
        victim = next(worker for worker in workers if worker.worker_id == part.worker_id)
        victim.signal(signal.SIGTERM)

    async with ClusterClient([head.address]) as client:
        whole = await collect(client.run(story()))
        moved = await collect(client.run(story()), after=3, act=stop)
    assert "".join(part.text for part in moved) == "".join(part.text for part in whole)


async def test_ready_is_said_once_models_are_loaded_and_a_head_knows(begin, start, notify):
    # Nobody listens on this address yet.
    early = start("head")
    address = early.address
    early.stop()
    worker = begin(address, {"NOTIFY_SOCKET": str(notify.path)})
    worker.said("model loaded")
    said = await notify.hears("STATUS=serving tiny")
    assert f"no answer from head {address}" in said
    with pytest.raises(TimeoutError):
        await notify.hears("READY=1", patience=3)
    assert await notify.hears("EXTEND_TIMEOUT_USEC=")
    assert await notify.hears("STATUS=loading tiny")
    assert worker.log.count("the head does not answer") <= 1
    notify.forget()
    start("head", listen=address)
    await notify.hears("READY=1")
    await notify.hears("STATUS=serving tiny: 0 running, 0 tokens/s")


async def test_watchdog_is_fed_while_the_loop_turns_and_not_while_it_is_stopped(
    start, begin, notify
):
    head = start("head")
    environment = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "600000"}
    worker = begin(head.address, environment)
    await notify.hears("READY=1")
    for _ in range(5):
        notify.forget()
        await notify.hears("WATCHDOG=1")
    worker.signal(signal.SIGSTOP)
    await asyncio.sleep(0.5)  # what it said before is read
    notify.forget()
    with pytest.raises(TimeoutError):
        await notify.hears("WATCHDOG=1", patience=1.5)
    worker.signal(signal.SIGCONT)
    await notify.hears("WATCHDOG=1")


async def test_model_that_cannot_be_loaded_does_not_keep_the_worker_from_serving(start, begin):
    head = start("head")
    worker = begin(head.address, models=["missing", "tiny"])
    worker.said("a model from the settings is not loaded .*missing")
    worker.said("serving .*models=tiny")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "0.0.0.0:0"}, "cluster_key_file"),
        ({"heads": ["192.0.2.1:7717"]}, 'set listen = "0.0.0.0:0"'),
        ({"quantization": "5bit"}, "none, 8bit, 4bit"),
        ({"cluster_key_file": "/nonexistent"}, "daiic keygen"),
        ({"hf_token_file": "/nonexistent"}, "hf_token_file"),
        ({"backend": "rocm"}, "rocminfo"),
        ({"backend": "vulkan"}, "llama-server --list-devices"),
        ({"engine": "vllm"}, "install vLLM, or set engine"),
        ({"gpus": ["0000:fe:1f.7"]}, "leave out gpus"),
    ],
)
def test_settings_that_cannot_work_end_it_before_it_serves_with_advice(start, settings, words):
    worker = start("worker", **{"heads": ["127.0.0.1:1"], **settings})
    assert worker.process.wait(PATIENCE) == 2
    assert words in worker.log and "Traceback" not in worker.log
    assert "serving" not in worker.log


def test_setting_of_its_file_that_there_is_not_ends_it_with_advice(start, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("moodels = []\n")
    worker = start("worker", config=config)
    assert worker.process.wait(PATIENCE) == 2
    assert "did you mean models?" in worker.log and "Traceback" not in worker.log


async def test_cluster_key_joins_worker_and_head_and_keeps_others_out(start, begin, tmp_path):
    keys = [ClusterKey.generate() for _ in range(2)]
    for number, key in enumerate(keys):
        key.save(tmp_path / f"key{number}")
    head = start("head", cluster_key_file=tmp_path / "key0")
    stranger = begin(head.address, cluster_key_file=tmp_path / "key1", models=[])
    member = begin(head.address, cluster_key_file=tmp_path / "key0", models=[])
    member.said("serving")
    stranger.said("does not answer; .*same cluster key")
    async with ClusterClient([head.address], keys[0]) as client:
        status = (await client.answer(pb.Task(status=pb.StatusTask()))).status
    assert [found.heartbeat.worker_id for found in status.workers] == [member.worker_id]


async def test_reloaded_settings_hold_and_fixed_ones_are_named(start, begin, tmp_path):
    head = start("head")
    config = tmp_path / "settings.toml"
    config.write_text("")
    worker = begin(head.address, models=[], config=config)
    worker.said("serving")
    config.write_text('quantization = "none"\nslots = 3\n')
    worker.signal(signal.SIGHUP)
    worker.said("some changes need a restart .*slots")
    async with ClusterClient([head.address]) as client:
        await client.answer(story(5))
    worker.said("model loaded .*quantization=none")
