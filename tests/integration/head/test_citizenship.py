"""The head as a service: start, systemd, signals, probes, settings, key."""

import asyncio
import signal
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

MIB = 1 << 20


def slow_task() -> pb.Task:
    return pb.Task(model="slow", text=pb.TextTask(prompt="done"))


SIZES = {heads.DAIIC_HEAD: 60_000_000, heads.HYDRAMESH: 75_000_000}
"""Bytes of memory that a head may have when it begins to serve."""


@pytest.mark.only_our_heads("its size, and what it imports")
async def test_head_is_small_and_does_without_torch(each_head):
    async with HeadProcess() as head:
        print(f"started in {head.started_in * 1e3:.0f} ms, {head.rss() / MIB:.0f} MiB resident")
        assert head.rss() < SIZES[each_head.name]
        assert "torch" not in Path(f"/proc/{head.pid}/maps").read_text()


async def test_systemd_hears_when_it_serves_that_it_lives_and_when_it_stops(notify):
    environment = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "300000"}
    async with HeadProcess(environment=environment) as head:
        await notify.hears("READY=1")
        await notify.hears("STATUS=")
        notify.forget()
        await notify.hears("WATCHDOG=1")
        head.signal(signal.SIGTERM)
        await notify.hears("STOPPING=1")
        assert await head.ended() == 0


@pytest.mark.only_our_heads("the words in which it says how it is")
async def test_it_says_in_words_how_it_is(notify):
    async with HeadProcess(environment={"NOTIFY_SOCKET": str(notify.path)}) as head:
        await notify.hears("STATUS=0 workers, 0 tasks in flight, 0 queued")
        assert await head.get("/readyz") == (503, "no worker has registered\n")
        stub = await WorkerStub.open([head.address], slots=1)
        await notify.hears("STATUS=1 worker, 0 tasks in flight, 0 queued")
        async with ClusterClient([head.address]) as client:
            tasks = [asyncio.create_task(client.answer(slow_task())) for _ in range(2)]
            await notify.hears("STATUS=1 worker, 1 task in flight, 1 queued")
            await asyncio.gather(*tasks)
        await stub.close()


@pytest.mark.only_daiic_head("what its transport counts")
async def test_messages_are_counted_by_type():
    async with HeadProcess() as head, ClusterClient([head.address]) as client:
        await client.status()
        assert await head.metric("daiic_wire_frames_received_heartbeat_total") >= 1


async def test_wedged_head_stops_feeding_the_watchdog(notify):
    environment = {"NOTIFY_SOCKET": str(notify.path), "WATCHDOG_USEC": "300000"}
    async with HeadProcess(environment=environment) as head:
        await notify.hears("WATCHDOG=1")
        head.signal(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        notify.forget()
        with pytest.raises(TimeoutError):
            await notify.hears("WATCHDOG=1", patience=1)


@pytest.mark.rule("refused-while-draining")
async def test_sigterm_lets_accepted_tasks_finish_and_leaves_new_ones_to_the_next_head():
    async with HeadProcess() as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address], slots=1)
        await head.wait_for_workers(1)
        accepted = [asyncio.create_task(client.answer(slow_task())) for _ in range(3)]
        await asyncio.sleep(0.1)
        head.signal(signal.SIGTERM)
        while (await head.get("/readyz"))[0] != 503:
            await asyncio.sleep(0.01)
        late = asyncio.create_task(client.answer(slow_task()))
        assert [answer.text for answer in await asyncio.gather(*accepted)] == ["done"] * 3
        assert await head.ended() == 0
        assert not late.done()
        async with HeadProcess(listen=head.address):
            assert (await asyncio.wait_for(late, 20)).text == "done"
        await stub.close()


@pytest.mark.rule("head-stopped")
async def test_tasks_that_outlast_the_drain_end_with_an_error():
    async with HeadProcess(drain_timeout=0.3) as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        mute = asyncio.create_task(client.answer(pb.Task(model="mute", text=pb.TextTask())))
        await asyncio.sleep(0.1)
        head.signal(signal.SIGTERM)
        with pytest.raises(TaskError) as given_up:
            await mute
        assert given_up.value.code == pb.HEAD_UNREACHABLE  # none came after it
        assert await head.ended() == 0
        assert stub.cancelled == [task.id for task in stub.tasks]
        await stub.close()


async def test_sighup_changes_what_can_change(tmp_path):
    config = tmp_path / "head.toml"
    config.write_text("queue_size = 5\n")
    async with HeadProcess(config=config) as head, ClusterClient([head.address]) as client:
        assert (await client.status()).queue_size == 5
        config.write_text("queue_size = 7\nallow_unauthenticated = true\n")
        head.signal(signal.SIGHUP)
        while (await client.status()).queue_size != 7:
            await asyncio.sleep(0.01)


@pytest.mark.only_our_heads("the words of its log")
async def test_sighup_names_what_needs_a_restart_and_what_is_wrong(tmp_path):
    config = tmp_path / "head.toml"
    config.write_text("queue_size = 5\n")
    async with HeadProcess(config=config) as head, ClusterClient([head.address]) as client:
        config.write_text('queue_size = 7\nlog_level = "debug"\nallow_unauthenticated = true\n')
        head.signal(signal.SIGHUP)
        await head.says("need a restart")
        (line,) = [line for line in head.log.splitlines() if "need a restart" in line]
        assert "allow_unauthenticated" in line
        assert "queue_size" not in line
        config.write_text("queue_sizes = 9\n")
        head.signal(signal.SIGHUP)
        await head.says("did you mean queue_size")
        assert (await client.status()).queue_size == 7


async def test_probes_and_metrics_tell_how_it_is():
    async with HeadProcess() as head, ClusterClient([head.address]) as client:
        assert (await head.get("/healthz"))[0] == 200
        assert (await head.get("/readyz"))[0] == 503
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        assert (await head.get("/readyz"))[0] == 200
        await client.answer(pb.Task(model="echo", text=pb.TextTask(prompt="hello")))
        with pytest.raises(TaskError):
            await client.answer(pb.Task(model="refusing", text=pb.TextTask(prompt="hello")))
        _, text = await head.get("/metrics")
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["daiic_head_tasks_total", "DONE", "text"] == 1
        assert samples["daiic_head_tasks_total", "BAD_REQUEST", "text"] == 1
        assert samples["daiic_head_workers", "cpu", "ready"] == 1
        assert samples["daiic_head_capable_workers", "chat"] == 1
        assert ("daiic_head_capable_workers", "see") not in samples
        assert samples["daiic_head_task_seconds_count",] == 2
        await stub.close()


async def test_members_with_the_cluster_key_work_together_and_others_are_not_heard(tmp_path):
    key, other = ClusterKey.generate(), ClusterKey.generate()
    key.save(tmp_path / "key")
    async with HeadProcess(cluster_key_file=tmp_path / "key") as head:
        stub = await WorkerStub.open([head.address], worker_id="member", key=key)
        stranger = await WorkerStub.open([head.address], worker_id="stranger", key=other)
        async with ClusterClient([head.address], key) as client:
            task = pb.Task(model="echo", text=pb.TextTask(prompt="hello"))
            assert (await client.answer(task)).text == "hello"
            workers = (await client.status()).workers
            assert [worker.heartbeat.worker_id for worker in workers] == ["member"]
        await stranger.close(polite=False)
        await stub.close()


UNUSABLE = {
    "listen=0.0.0.0:0": "cluster_key_file",
    "cluster-key-file=/nonexistent": "daiic keygen",
    "queue-size=0": "a whole number above 0",
    "listen=somewhere": "host:port, such as 127.0.0.1:7717",
}
"""Settings, and what the error must name."""


@pytest.mark.parametrize("setting", UNUSABLE)
async def test_settings_that_cannot_be_used_end_it_with_status_2(setting):
    key, value = setting.split("=")
    head = HeadProcess(http_listen="", **{key: value})
    head.start()
    assert await head.ended() == 2


@pytest.mark.only_our_heads("the words of its errors")
@pytest.mark.parametrize("setting", UNUSABLE)
async def test_error_of_a_setting_says_what_to_do(setting):
    key, value = setting.split("=")
    head = HeadProcess(http_listen="", **{key: value})
    head.start()
    await head.ended()
    assert UNUSABLE[setting] in head.log
