"""The commands against each real head, with a worker that follows a script."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from daiic.tether import tethered
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import SCRIPTS, Step, WorkerStub
from support.processes.gateway_process import gateway_process
from support.processes.head_process import HeadProcess
from support.processes.heads import Head

ONE = pb.ModelIdentity(weights="one", tokenizer="t", quantization="4bit")
OTHER = pb.ModelIdentity(weights="other", tokenizer="t", quantization="none")


def started_over(task: pb.Task) -> Iterator[Step]:
    """Say two words; then another model says three."""
    yield pb.Result(text="one two", tokens=[1, 2], model=ONE)
    yield 0.1
    yield pb.Result(text="three", tokens=[3], model=OTHER, started_over=True)
    yield pb.Result(text=" four five", tokens=[4, 5])
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)


class Cluster:
    """A head's address and its one worker, and `daiic` pointed at the head."""

    def __init__(self, head: str, stub: WorkerStub, folder: Path) -> None:
        self.head = head
        self.stub = stub
        self._folder = folder

    async def daiic(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Run a command and return its status, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *tethered(Path(sys.executable).with_name("daiic"), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._folder,
            env={**os.environ, "DAIIC_HEADS": self.head, "COLUMNS": "200"},
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def cluster(each_head: Head, tmp_path: Path) -> AsyncIterator[Cluster]:
    # A head says that no worker can do something once it has waited that long for another.
    async with HeadProcess(http_listen="", worker_timeout=2) as head:
        models = dict.fromkeys((*SCRIPTS, "over"), pb.LOADED)
        stub = await WorkerStub.open([head.address], models=models, interval=0.3)
        await head.wait_for_workers(1)
        stub.scripts["over"] = started_over
        yield Cluster(head.address, stub, tmp_path)
        await stub.close()


async def test_generate_prints_the_text_and_nothing_else(cluster: Cluster) -> None:
    status, out, err = await cluster.daiic("generate", "good [morning]", "--model", "echo")
    assert (status, out, err) == (0, "good [morning]\n", "")


async def test_generate_reads_its_prompt_from_stdin(cluster: Cluster) -> None:
    _, out, _ = await cluster.daiic("generate", "-m", "echo", stdin="from a pipe")
    assert out == "from a pipe\n"


async def test_generate_json_says_how_the_text_came_about(cluster: Cluster) -> None:
    _, out, _ = await cluster.daiic(
        "generate", "x", "-m", "count", "--max-tokens", "3", "--seed", "7", "--json"
    )
    answer = json.loads(out)
    assert answer["text"] == "0 1 2 "
    assert answer["finish_reason"] == "length"
    assert answer["seed"] == 7
    assert answer["completion_tokens"] == 3
    assert answer["worker"] == "stub"


async def test_chat_on_a_pipe_answers_line_by_line(cluster: Cluster) -> None:
    status, out, _ = await cluster.daiic(
        "chat", "-m", "count", "--max-tokens", "2", stdin="one\n/clear\n\ntwo\n"
    )
    assert status == 0
    assert out == "0 1 \n0 1 \n"


async def test_first_model_of_the_kind_is_the_default(cluster: Cluster) -> None:
    status, out, _ = await cluster.daiic("generate", "which one?")
    assert status == 0
    assert out == "which one?\n"  # "echo" comes first in the stub's list


async def test_image_is_written_next_to_the_caller_and_never_over_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    arguments = ("image", "a red circle", "-m", "picture", "--size", "8x8", "--seed", "5")
    for name in ("a-red-circle-5.png", "a-red-circle-5-2.png"):
        status, out, _ = await cluster.daiic(*arguments, "--json")
        assert status == 0
        assert json.loads(out)["images"] == [{"path": name, "seed": 5}]
        assert len((tmp_path / name).read_bytes()) == 64


async def test_unknown_model_fails_with_what_there_is(cluster: Cluster) -> None:
    status, out, err = await cluster.daiic("generate", "x", "--model", "no-such-model")
    assert status != 0
    assert out == ""
    assert "no-such-model" in err
    assert "echo" in err


async def test_error_of_a_worker_is_told_with_its_remedy(cluster: Cluster) -> None:
    status, _, err = await cluster.daiic("generate", "x", "--model", "refusing")
    assert status == 1
    assert "the stub refused" in err
    assert "use another model" in err


async def test_status_shows_workers_for_people_and_for_scripts(cluster: Cluster) -> None:
    _, table, _ = await cluster.daiic("status")
    assert "stub" in table
    assert "ready" in table
    _, out, _ = await cluster.daiic("status", "--json")
    worker = json.loads(out)["workers"][0]["heartbeat"]
    assert worker["worker_id"] == "stub"
    assert worker["state"] == "READY"


async def test_models_lists_each_with_its_places(cluster: Cluster) -> None:
    _, out, _ = await cluster.daiic("models", "list", "--json")
    models = {model["name"]: model for model in json.loads(out)}
    assert models["echo"]["workers"][0]["state"] == "loaded"
    assert models["echo"]["kind"] == pb.ModelKind.Name(pb.TEXT).lower()
    assert models["echo"]["workers"][0]["capabilities"] == ["chat", "complete", "embed"]
    _, table, _ = await cluster.daiic("models", "list")
    assert "paint" in next(line for line in table.splitlines() if "picture" in line)


async def test_a_task_with_tags_needs_a_worker_with_them(cluster: Cluster) -> None:
    arguments = ("generate", "hi", "-m", "echo", "--tag", "eu", "--tag", "fast")
    status, _, err = await cluster.daiic(*arguments)
    assert status == 3
    assert 'no worker has the tags "eu", "fast"' in err
    cluster.stub.heartbeat.tags.extend(["fast", "eu"])
    cluster.stub.say()
    status, out, _ = await cluster.daiic(*arguments)
    assert (status, out) == (0, "hi\n")
    _, table, _ = await cluster.daiic("status")
    assert "tags: fast, eu" in table


async def test_what_a_model_cannot_do_is_told_with_one_that_can(cluster: Cluster) -> None:
    status, _, err = await cluster.daiic("image", "a fox", "-m", "echo")
    assert status == 1
    assert "echo cannot make images" in err
    assert "models that can: picture on worker stub" in err


@pytest.mark.parametrize("command", ["chat", "generate"])
async def test_an_answer_that_starts_over_is_said_to_and_printed_again(
    cluster: Cluster, command: str
) -> None:
    status, out, err = await cluster.daiic(command, "x", "-m", "over")
    assert (status, out) == (0, "one two\nthree four five\n")
    assert "starts over" in err
    assert "with other weights and quantization" in err


@pytest.mark.parametrize("command", ["chat", "generate"])
async def test_json_has_the_answer_that_holds_alone(cluster: Cluster, command: str) -> None:
    _, out, _ = await cluster.daiic(command, "x", "-m", "over", "--json")
    assert json.loads(out)["text"] == "three four five"


async def test_doctor_finds_the_head_and_its_clock(cluster: Cluster) -> None:
    _, out, _ = await cluster.daiic("doctor", "--json")
    findings = {finding["subject"]: finding for finding in json.loads(out)}
    assert findings["head"]["level"] == "ok"
    assert findings["clock"]["level"] == "ok"
    assert findings["workers"]["says"] == "stub"


@pytest.mark.only_daiic_head("it reaches no head")
async def test_no_head_is_told_apart_by_the_exit_status(cluster: Cluster) -> None:
    status, _, err = await cluster.daiic("status", "--head", "127.0.0.1:9")
    assert status == 3
    assert "no head answers at 127.0.0.1:9" in err


async def test_embed_falls_back_on_a_language_model(cluster: Cluster) -> None:
    status, out, _ = await cluster.daiic("embed", "some text", "--json")
    assert status == 0
    assert json.loads(out)["model"] == "echo"


async def test_a_gateway_serves_the_same_commands(cluster: Cluster, tmp_path: Path) -> None:
    async with gateway_process(f"--heads={cluster.head}") as gateway:
        await gateway.ready()
        url = ("--url", gateway.url)
        _, text, _ = await cluster.daiic("generate", "over HTTP", "-m", "echo", *url)
        assert text == "over HTTP\n"
        _, chat, _ = await cluster.daiic("chat", "x", "-m", "count", "--max-tokens", "2", *url)
        assert chat == "0 1 \n"
        status, _, err = await cluster.daiic("generate", "x", "-m", "refusing", *url)
        assert status == 1
        assert "the stub refused" in err


@pytest.mark.only_daiic_head("it reaches no head")
async def test_a_gateway_that_is_not_there_is_told_apart_too(cluster: Cluster) -> None:
    status, _, err = await cluster.daiic("chat", "x", "-m", "echo", "--url", "http://127.0.0.1:9")
    assert status == 3
    assert "does not answer" in err
