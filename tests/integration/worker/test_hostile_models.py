"""A worker with hostile models in its folder says what is wrong with each and serves the rest."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from support.models import hostile_models, tiny_models

BOMB = "{% if add_generation_prompt %}{{ 'a' * 3000000000 }}{% endif %}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "models"
    tiny = tiny_models.language_model(folder / "tiny")
    hostile_models.broken(folder)
    shutil.copytree(tiny, folder / "bomb")
    (folder / "bomb" / "chat_template.jinja").write_text(BOMB)
    # What the libraries would do with these is theirs; it must end neither worker nor task.
    for name, file, content in (
        ("bad-tokenizer", "tokenizer.json", "[" * 100_000),
        ("odd-tokenizer", "tokenizer.json", '{"version": "1.0", "model": {"type": "BPE"}}'),
        ("odd-generation", "generation_config.json", '{"eos_token_id": {"a": ["b"]}}'),
        ("odd-config", "config.json", json.dumps(_odd(tiny))),
    ):
        shutil.copytree(tiny, folder / name)
        (folder / name / file).write_text(content)
    return folder


def _odd(tiny: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((tiny / "config.json").read_text())
    return config | {"hidden_size": "\ud800", "num_attention_heads": 0}


@pytest.fixture(scope="module")
def outside(models: Path) -> dict[str, str]:
    return hostile_models.outside(models, models / "tiny")


@pytest.fixture(scope="module")
def worker(start, models, outside):
    head = start("head")
    return start(
        "worker",
        heads=[head.address],
        models_dir=models,
        quantization="none",
        ram_limit=1 << 30,
        http_listen="127.0.0.1:0",
    ), head


@pytest.fixture
async def cluster(worker) -> AsyncIterator[ClusterClient]:
    worker[0].said("serving")
    async with ClusterClient([worker[1].address]) as client:
        yield client


def chat(model: str) -> pb.Task:
    messages = [pb.ChatMessage(role="user", content="hello")]
    return pb.Task(model=model, text=pb.TextTask(messages=messages, max_tokens=2))


async def refusal(cluster: ClusterClient, model: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await cluster.answer(chat(model))
    return caught.value


async def test_every_hostile_model_is_refused_by_name_and_the_good_one_served(
    cluster, worker, outside
):
    status = (await cluster.answer(pb.Task(status=pb.StatusTask()))).status
    listed = {model.name: model for model in status.workers[0].heartbeat.models}
    for name in hostile_models.CONFIGS:
        error = await refusal(cluster, name)
        assert error.code == pb.BAD_REQUEST and name in error.message
        assert (listed[name].state, listed[name].detail) == (pb.FAILED, error.message)
    for name, told in outside.items():
        error = await refusal(cluster, name)
        assert error.code == pb.BAD_REQUEST and told in error.message
    for name in ("bad-tokenizer", "odd-tokenizer", "odd-generation", "odd-config"):
        error = await refusal(cluster, name)
        assert name in error.message and error.remedy
    assert (await cluster.answer(chat("tiny"))).final


async def test_hostile_template_refuses_its_model_and_is_told_to_the_cluster(cluster, worker):
    for _ in range(2):
        error = await refusal(cluster, "bomb")
        assert error.code == pb.BAD_REQUEST
        assert "bomb is refused: its chat template takes too much memory" in error.message
    worker[0].said(r"model refused .*model=bomb")
    for _ in range(100):
        status = (await cluster.answer(pb.Task(status=pb.StatusTask()))).status
        found = {model.name: model for model in status.workers[0].heartbeat.models}["bomb"]
        if found.state == pb.FAILED:
            break
        await asyncio.sleep(0.1)
    assert (found.state, "is refused" in found.detail) == (pb.FAILED, True)
    assert status.tasks_moved == 0
    assert (await worker[0].get("/readyz"))[0] == 200
    assert (await cluster.answer(chat("tiny"))).final


async def test_template_process_ends_with_a_killed_worker(cluster, worker):
    assert (await cluster.answer(chat("tiny"))).final
    tasks = Path(f"/proc/{worker[0].pid}/task").glob("*/children")
    children = [child for task in tasks for child in task.read_text().split()]
    renders = [c for c in children if "template_process" in Path(f"/proc/{c}/cmdline").read_text()]
    assert len(renders) == 1
    await worker[0].kill()
    cmdline = Path(f"/proc/{renders[0]}/cmdline")
    for _ in range(600):
        # A zombie, which waits for its new parent, has none.
        if not cmdline.exists() or not cmdline.read_bytes():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it is still there")
