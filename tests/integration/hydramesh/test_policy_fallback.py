"""Whoever asked for a model is told by name which other one answers in its place."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import Step, WorkerStub, count
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess

DAIIC = Path(sys.executable).with_name("daiic")
POLICY = """(policy "a small one is better than none"
  (rule "big" (when (= task.model "big")) (fallback "small" (after 5 s))))"""


def small(task: pb.Task) -> Iterator[Step]:
    """Answer as a model that says first that it was loaded, and then a word at a time."""
    work = task.WhichOneof("work")
    # A worker's word for it does not count.
    yield pb.Result(progress=pb.Progress(phase="load", done=1, total=1), model_name="forged")
    if work == "embed":
        vectors = [pb.Embedding(values=[1.0]) for _ in task.embed.inputs]
        yield pb.Result(final=True, embeddings=vectors)
    elif work == "rerank":
        yield pb.Result(final=True, scores=[1.0 for _ in task.rerank.documents])
    else:
        yield pb.Result(text="two ", tokens=[1])
        yield pb.Result(text="words", tokens=[2])
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)


@pytest.fixture
async def head(hydramesh: heads.Head, tmp_path: Path) -> AsyncIterator[HeadProcess]:
    policy = tmp_path / "a.policy"
    policy.write_text(POLICY)
    async with HeadProcess(kind=hydramesh, policy=policy, storage="none") as head:
        worker = await WorkerStub.open([head.address], models={"small": pb.LOADED})
        worker.scripts["small"] = small
        worker.heartbeat.models[0].capabilities.extend([pb.CHAT, pb.COMPLETE, pb.EMBED, pb.RERANK])
        worker.say()
        await head.wait_for_workers(1)
        yield head
        await worker.close(polite=False)


@pytest.fixture
async def gateway(head: HeadProcess) -> AsyncIterator[RunningGateway]:
    async with gateway_process(f"--heads={head.address}") as gateway:
        await gateway.ready()
        yield gateway


@pytest.mark.parametrize(("asked", "told"), [("big", "small"), ("small", "")])
async def test_the_first_part_names_the_model_if_it_is_not_the_one_asked_for(
    head: HeadProcess, asked: str, told: str
) -> None:
    task = pb.Task(model=asked, stream=True, text=pb.TextTask(prompt="x"))
    async with ClusterClient([head.address]) as client:
        names = [part.model_name async for part in client.run(task)]
        assert names == [told, "", "", ""]
        whole = await client.answer(pb.Task(model=asked, text=pb.TextTask(prompt="x")))
        assert (whole.text, whole.model_name) == ("two words", told)


def slowly(task: pb.Task) -> Iterator[Step]:
    """Count, as a model that says what it is."""
    for step in count(task):
        if isinstance(step, pb.Result):
            step.model.weights = "small"
        yield step


async def test_an_answer_of_a_fallback_goes_on_at_another_head_when_its_own_is_killed(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    policy = tmp_path / "a.policy"
    policy.write_text(POLICY)
    async with (
        HeadProcess(kind=hydramesh, policy=policy, storage="none") as first,
        HeadProcess(kind=hydramesh, policy=policy, storage="none") as second,
        ClusterClient([first.address, second.address]) as client,
    ):
        worker = await WorkerStub.open([first.address, second.address], models={"small": pb.LOADED})
        worker.scripts["small"] = slowly
        worker.heartbeat.models[0].identity.weights = "small"
        worker.say()
        for head in first, second:
            await head.wait_for_workers(1)
        text, killed = "", False
        task = pb.Task(model="big", stream=True, text=pb.TextTask(prompt="x", max_tokens=20))
        async with asyncio.timeout(PATIENCE):
            async for part in client.run(task):
                assert not part.started_over
                text += part.text
                if part.index == 4 and not killed:
                    killed = True
                    await first.kill()
        assert text == "".join(f"{number} " for number in range(20))
        assert [bool(task.resume.tokens) for task in worker.tasks] == [False, True]
        await worker.close(polite=False)


def events(body: str) -> list[dict[str, Any]]:
    """Return the data of server-sent events, or the lines of a stream of JSON."""
    lines = [line.removeprefix("data: ") for line in body.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


CHAT = [{"role": "user", "content": "x"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT, "stream_options": {"include_usage": True}},
    "/v1/completions": {"prompt": "x", "stream_options": {"include_usage": True}},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": CHAT, "max_tokens": 9},
    "/api/chat": {"messages": CHAT},
    "/api/generate": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/api/embed": {"input": "x"},
    "/v1/rerank": {"query": "x", "documents": ["y"]},
}
WHOLE_ONLY = {"/v1/embeddings", "/api/embed", "/v1/rerank"}


@pytest.mark.parametrize("path", BODIES)
async def test_every_api_names_the_model_that_answered(gateway: RunningGateway, path: str) -> None:
    async with gateway.http as http:
        for asked in "big", "small":
            body = {name: value for name, value in BODIES[path].items() if name != "stream_options"}
            body |= {"model": asked, "stream": False}
            if path in WHOLE_ONLY:
                del body["stream"]
            answer = await http.post(path, json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == "small"
            if path in WHOLE_ONLY:
                continue
            streamed = await http.post(path, json=BODIES[path] | {"model": asked, "stream": True})
            told = [
                (event.get("message") or event.get("response") or event).get("model")
                if path.startswith("/v1/messages") or path == "/v1/responses"
                else event["model"]
                for event in events(streamed.text)
                if path != "/v1/messages" or event["type"] == "message_start"
            ]
            assert {name for name in told if name is not None} == {"small"}, streamed.text


@pytest.mark.parametrize("by", ["head", "url"])
async def test_the_command_line_names_the_model_that_answers(
    head: HeadProcess, gateway: RunningGateway, by: str
) -> None:
    where = [f"--{by}", head.address if by == "head" else gateway.url]

    async def said(*arguments: str) -> "subprocess.CompletedProcess[str]":
        done = await asyncio.to_thread(
            subprocess.run,
            [DAIIC, *arguments, *where],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done

    chat = await said("chat", "x", "--model", "big")
    assert chat.stdout.strip() == "two words"
    assert "another model answers: small" in chat.stderr
    assert "another model" not in (await said("chat", "x", "--model", "small")).stderr
    for command in ["generate", "x"], ["embed", "x", "y"], ["rerank", "x", "y"]:
        told = json.loads((await said(*command, "--model", "big", "--json")).stdout)
        assert told["model"] == "small"
