"""A GGUF model in a cluster of real processes: what heads are told of it, and answers that move."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.llama_cpp.running import PATH, PROGRAMS
from support.models import tiny_gguf
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(
    not (PROGRAMS / "llama-server").exists(),
    reason="needs tests/support/llama_cpp/fetch.sh .venv/llama.cpp",
)
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"story": {"type": "string", "minLength": 900, "maxLength": 901}},
        "required": ["story"],
        "additionalProperties": False,
    }
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.chat_model(folder / "chat.gguf", quantization=tiny_gguf.GGMLQuantizationType.Q8_0)
    (folder / "chat.adapters").mkdir()
    tiny_gguf.adapter(folder / "chat.adapters" / "odd.gguf")
    tiny_gguf.projector(folder / "mmproj-chat.gguf")
    tiny_gguf.draft_model(folder / "chat.draft.gguf")
    return folder


def worker(
    head: HeadProcess, models: Path, state: Path, *, model: str = "chat.gguf", slots: int = 2
) -> WorkerProcess:
    return WorkerProcess(
        PATH,
        heads=head.address,
        models=[model],
        models_dir=models,
        state_dir=state,
        allow_downloads=False,
        slots=slots,
    )


async def loaded(head: HeadProcess, count: int) -> list[pb.WorkerStatus]:
    async with ClusterClient([head.address]) as client:
        while True:
            status = await client.status()
            ready = [
                one
                for one in status.workers
                if any(model.state == pb.LOADED for model in one.heartbeat.models)
            ]
            if len(ready) == count:
                return ready
            await asyncio.sleep(0.2)


async def test_heads_learn_what_the_model_can_do_and_how_its_guesses_fare(
    models: Path, tmp_path: Path
) -> None:
    async with HeadProcess() as head, worker(head, models, tmp_path / "a") as one:
        (before,) = await loaded(head, 1)
        assert [model.name for model in before.heartbeat.models] == ["chat.gguf"]
        model = before.heartbeat.models[0]
        assert set(model.capabilities) == {
            *(pb.CHAT, pb.COMPLETE, pb.SEE, pb.SCHEMA, pb.SAMPLING, pb.ADAPTERS, pb.TOKENS)
        }
        assert model.quantization == "Q8_0"
        assert model.identity.weights
        assert list(model.adapters) == ["odd"]
        asked = pb.TextTask(
            messages=[pb.ChatMessage(role="user", content="Count to ten")], temperature=0
        )
        async with ClusterClient([head.address]) as client:
            parts = [p async for p in client.run(pb.Task(model="chat.gguf", text=asked))]
        assert "".join(part.text for part in parts).startswith("one, two")
        while not (told := (await loaded(head, 1))[0].heartbeat.models[0].speculation.drafted):
            await asyncio.sleep(0.2)
        assert f'daiic_worker_guesses{{guesses="drafted",model="chat.gguf"}} {told}.0' in (
            await one.get("/metrics")
        )[1].replace("\n", " ")


async def test_a_draft_that_the_settings_name_is_looked_for_among_the_models(
    tmp_path: Path,
) -> None:
    tiny_gguf.chat_model(tmp_path / "chat.gguf")
    async with (
        HeadProcess() as head,
        WorkerProcess(
            PATH,
            heads=head.address,
            models=["chat.gguf"],
            models_dir=tmp_path,
            state_dir=tmp_path / "state",
            allow_downloads=False,
            draft_models=["chat.gguf=drafts/small.gguf"],
        ),
        ClusterClient([head.address]) as client,
    ):
        asked = pb.TextTask(
            messages=[pb.ChatMessage(role="user", content="Count to ten")], temperature=0
        )
        task = pb.Task(model="chat.gguf", text=asked)
        with pytest.raises(TaskError, match=r"small\.gguf cannot be read: No such file"):
            await anext(client.run(task))
        (tmp_path / "drafts").mkdir()
        tiny_gguf.draft_model(tmp_path / "drafts" / "small.gguf")
        parts = [part async for part in client.run(task)]
        assert "".join(part.text for part in parts).startswith("one, two")
        (status,) = await loaded(head, 1)
        (chat,) = [m for m in status.heartbeat.models if m.name == "chat.gguf"]
        while not chat.speculation.drafted:
            await asyncio.sleep(0.2)
            (status,) = await loaded(head, 1)
            (chat,) = [m for m in status.heartbeat.models if m.name == "chat.gguf"]


async def test_an_answer_keeps_to_its_schema_when_its_worker_is_killed(
    models: Path, tmp_path: Path
) -> None:
    asked = pb.TextTask(
        messages=[pb.ChatMessage(role="user", content="Tell me a story")],
        temperature=0,
        max_tokens=1000,
        constraint=pb.Constraint(json_schema=SCHEMA),
    )
    async with (
        HeadProcess() as head,
        worker(head, models, tmp_path / "a") as one,
        worker(head, models, tmp_path / "b") as other,
    ):
        await loaded(head, 2)
        text = ""
        async with ClusterClient([head.address]) as client:
            killed = None
            async for part in client.run(pb.Task(model="chat.gguf", stream=True, text=asked)):
                assert not part.started_over
                text += part.text
                if killed is None and len(text) > 5:
                    killed = one if part.worker_id == one.worker_id else other
                    children = psutil.Process(killed.pid).children(recursive=True)
                    await killed.kill()
                    answering = part.worker_id
            assert part.worker_id != answering
        assert 900 <= len(json.loads(text)["story"]) <= 901
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not [child for child in alive if "chat.gguf" in " ".join(child.cmdline())]


async def test_as_many_streams_as_the_worker_has_slots_are_answered_together(
    models: Path, tmp_path: Path
) -> None:
    async with HeadProcess() as head, worker(head, models, tmp_path / "a", slots=32):
        await loaded(head, 1)
        async with ClusterClient([head.address]) as client:
            texts = await asyncio.gather(
                *(streamed(client, counting("chat.gguf", 24)) for _ in range(32))
            )
    assert all(text.startswith("one, two, three") for text in texts)


async def test_tasks_that_wait_for_room_are_not_lost_with_their_worker(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    tiny_gguf.chat_model(models / "long.gguf", context=32768)
    async with (
        HeadProcess() as head,
        worker(head, models, tmp_path / "a", model="long.gguf", slots=6) as one,
        worker(head, models, tmp_path / "b", model="long.gguf", slots=6) as other,
    ):
        await loaded(head, 2)
        killed: list[str] = []

        async def kill(worker_id: str) -> None:
            if not killed:
                killed.append(worker_id)
                await (one if worker_id == one.worker_id else other).kill()

        async with ClusterClient([head.address]) as client:
            # Each may take two thirds of a worker's cache, so five wait on either.
            texts = await asyncio.gather(
                *(streamed(client, counting("long.gguf", 20_000), kill) for _ in range(12))
            )
    assert killed and all(text.startswith("one, two, three") for text in texts)


def counting(model: str, tokens: int) -> pb.Task:
    asked = pb.TextTask(
        messages=[pb.ChatMessage(role="user", content="Count to ten")],
        temperature=0,
        max_tokens=tokens,
    )
    return pb.Task(model=model, stream=True, text=asked)


async def streamed(
    client: ClusterClient, task: pb.Task, heard: Callable[[str], Awaitable[None]] | None = None
) -> str:
    text = ""
    async for part in client.run(task):
        text += part.text
        if heard is not None and part.text:
            await heard(part.worker_id)
    return text


async def test_the_program_of_an_idle_model_ends(models: Path, tmp_path: Path) -> None:
    async with (
        HeadProcess() as head,
        WorkerProcess(
            PATH,
            heads=head.address,
            models_dir=models,
            state_dir=tmp_path,
            allow_downloads=False,
            idle_unload=0.5,
        ) as served,
    ):
        task = pb.Task(model="chat.gguf", text=pb.TextTask(prompt="Count", max_tokens=4))
        async with ClusterClient([head.address]) as client:
            first = await client.answer(task)
            served.said("idle model unloaded")
            while psutil.Process(served.pid).children(recursive=True):
                await asyncio.sleep(0.1)
            assert (await client.answer(task)).text == first.text
