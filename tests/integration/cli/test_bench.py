"""`daiic bench` against each real head: with workers that follow a script, and with a real one."""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from daiic.client import ClusterClient
from daiic.tether import tethered
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Script, Step, WorkerStub, refusing
from support.processes.head_process import HeadProcess
from support.processes.heads import Head
from support.processes.worker_process import WorkerProcess

TINY = "daiic-tiny-chat"
MODELS = Path(__file__).parents[3] / "local-models"


def story(task: pb.Task) -> Iterator[Step]:
    """Load at once; continue any text with as many tokens as are asked for."""
    if task.HasField("text"):
        for number in range(task.text.max_tokens):
            yield 0.001
            yield pb.Result(text="x", tokens=[number])
    yield pb.Result(final=True, usage=pb.Usage(prompt_tokens=140))


def brief(task: pb.Task) -> Iterator[Step]:
    """End every answer after two tokens."""
    for number in range(2):
        yield pb.Result(text="x", tokens=[number])
    yield pb.Result(final=True)


def silent(task: pb.Task) -> Iterator[Step]:
    """Load, and never answer."""
    if task.HasField("text"):
        yield 3600.0
    yield pb.Result(final=True)


def hesitant() -> Script:
    """Return a script that loads, answers the task that warms up, and no other."""
    asked = itertools.count()

    def script(task: pb.Task) -> Iterator[Step]:
        if task.HasField("text"):
            if next(asked):
                yield 3600.0
            yield pb.Result(text="x", tokens=[1])
        yield pb.Result(final=True)

    return script


SCRIPTS = {"story": story, "brief": brief, "silent": silent, "refusing": refusing}


class Cluster:
    """A head, and `daiic` pointed at it."""

    def __init__(self, head: HeadProcess) -> None:
        self.head = head
        self.stubs: list[WorkerStub] = []

    async def add(self, name: str, *models: str) -> WorkerStub:
        """Add a worker with some of `SCRIPTS`."""
        stub = await WorkerStub.open(
            [self.head.address],
            worker_id=name,
            models=dict.fromkeys(models, pb.LOADED),
            slots=4,
            interval=0.3,
        )
        stub.scripts.update(SCRIPTS)
        self.stubs.append(stub)
        await self.head.wait_for_workers(len(self.stubs))
        return stub

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Begin a bench."""
        return await asyncio.create_subprocess_exec(
            *tethered(Path(sys.executable).with_name("daiic"), "bench", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DAIIC_HEADS": self.head.address, "COLUMNS": "160"},
        )

    async def bench(self, *arguments: str) -> tuple[int, str, str]:
        """Run a bench; return its status, stdout and stderr."""
        process = await self.start(*arguments)
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def cluster(each_head: Head) -> AsyncIterator[Cluster]:
    async with HeadProcess(http_listen="", worker_timeout=2) as head:
        cluster = Cluster(head)
        yield cluster
        for stub in cluster.stubs:
            await stub.close()


def texts(stub: WorkerStub) -> list[pb.Task]:
    return [task for task in stub.tasks if task.HasField("text")]


async def test_every_worker_with_the_model_is_measured_at_doubling_streams(
    cluster: Cluster,
) -> None:
    stubs = [await cluster.add("one", "story"), await cluster.add("two", "story", "brief")]
    status, out, err = await cluster.bench(
        "-m", "story", "--streams", "6", "--tokens", "5", "--json"
    )
    assert status == 0, err
    measured = json.loads(out)
    assert measured["tokens"] == 5
    assert {worker["name"] for worker in measured["workers"]} == {"one", "two"}
    for worker in measured["workers"]:
        assert [done["streams"] for done in worker["rounds"]] == [1, 2, 4, 6]
        assert [done["tokens"] for done in worker["rounds"]] == [15, 10, 20, 30]
        for done in worker["rounds"]:
            assert done["prompt_tokens"] == 140
            assert done["total_rate"] > 0 and done["rate"] > 0
            assert 0 < done["first_token"] <= done["slowest_first_token"]
        assert any("4 tasks at once" in note for note in worker["notes"])
    for stub in stubs:
        asked = texts(stub)
        assert len(asked) == 1 + 6 + 4 + 2 + 3, "a task that does not count, then the rounds"
        assert all(task.text.temperature == 0 and task.deadline_ms for task in asked)
        prompts = {task.text.prompt for task in asked}
        assert len(prompts) == len(asked), "no cache may have read what a stream asks"
        assert len({prompt.partition(".")[2] for prompt in prompts}) == 1
        assert len({len(prompt) for prompt in prompts}) == 1


async def test_memory_is_told_as_it_was_at_each_number_of_streams(cluster: Cluster) -> None:
    stub = await cluster.add("one", "story")

    def growing(task: pb.Task) -> Iterator[Step]:
        stub.heartbeat.models[0].bytes = 1000 * len(texts(stub))
        yield from story(task)

    stub.scripts["story"] = growing
    _, out, _ = await cluster.bench("--streams", "4", "--tokens", "3", "--json")
    (worker,) = json.loads(out)["workers"]
    assert [(done["streams"], done["bytes"]) for done in worker["rounds"]] == [
        (1, 1000),
        (2, 3000),
        (4, 7000),
    ]
    assert worker["bytes"] == 7000


async def test_one_worker_can_be_named_and_the_terminal_gets_a_chart(cluster: Cluster) -> None:
    other = await cluster.add("one", "story")
    await cluster.add("two", "story")
    status, out, _ = await cluster.bench("--worker", "two", "--streams", "2", "--tokens", "4")
    assert status == 0
    assert "prompt 140 tokens, answer 4 tokens" in out
    assert "█" in out and "first token" in out and "two" in out
    assert not other.tasks


async def test_a_worker_that_fails_is_told_and_the_others_are_measured(cluster: Cluster) -> None:
    await cluster.add("one", "story")
    failing = await cluster.add("two", "story")
    failing.scripts["story"] = SCRIPTS["refusing"]
    status, out, err = await cluster.bench(
        "-m", "story", "--streams", "1", "--tokens", "2", "--json"
    )
    assert status == 1
    assert "worker two:" in err and "the stub refused" in err and "use another model" in err
    by_name = {worker["name"]: worker for worker in json.loads(out)["workers"]}
    assert len(by_name["one"]["rounds"]) == 1 and by_name["one"]["error"] is None
    assert by_name["two"]["rounds"] == [] and "the stub refused" in by_name["two"]["error"]


async def test_answers_that_end_early_are_told(cluster: Cluster) -> None:
    await cluster.add("one", "brief")
    _, out, _ = await cluster.bench("--streams", "2", "--tokens", "9")
    assert "ended some answers early" in out


async def test_an_answer_that_takes_too_long_ends_the_bench(cluster: Cluster) -> None:
    await cluster.add("one", "silent")
    status, _, err = await cluster.bench("--streams", "1", "--deadline", "1")
    assert status == 1
    assert "worker one:" in err and "1 s" in err


async def test_what_is_not_there_is_told_with_what_is(cluster: Cluster) -> None:
    await cluster.add("one", "story")
    status, _, err = await cluster.bench("-m", "story", "--worker", "three")
    assert status == 3
    assert "no worker three" in err and "have it: one" in err
    status, _, err = await cluster.bench("-m", "no-such-model")
    assert status == 1
    assert "no-such-model" in err and "models list" in err
    status, _, err = await cluster.bench("--streams", "0")
    assert status == 2
    assert "--streams" in err


async def test_interrupting_it_ends_its_tasks(cluster: Cluster) -> None:
    stub = await cluster.add("one", "story")
    stub.scripts["story"] = hesitant()
    process = await cluster.start("-m", "story", "--streams", "3")
    async with asyncio.timeout(60):
        while len(texts(stub)) < 3:
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        while len(stub.cancelled) < 2:
            await asyncio.sleep(0.02)


async def test_a_real_worker_tells_heads_the_rate_that_it_had(
    cluster: Cluster, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "heads": cluster.head.address,
        "models": [TINY],
        "models_dir": MODELS,
        "state_dir": tmp_path,
        "allow_downloads": False,
    }
    async with WorkerProcess(**settings) as worker:
        await worker.until_ready()
        await cluster.head.wait_for_workers(1)
        async with ClusterClient([cluster.head.address]) as client, asyncio.timeout(60):
            assert await rate_of(client) == 0
            status, out, err = await cluster.bench("--streams", "2", "--tokens", "16", "--json")
            assert status == 0, err
            (measured,) = json.loads(out)["workers"]
            assert measured["bytes"] > 0 and measured["engine"] == "transformers"
            while not await rate_of(client):
                await asyncio.sleep(0.1)


async def rate_of(client: ClusterClient) -> float:
    (model,) = (model for model in await client.models() if model.name == TINY)
    return model.rate
