"""A chat template in an image pipeline is a program of the model's author, kept within bounds."""

import asyncio
import subprocess

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.diffusers.load import load as load_image
from daiic.worker.engines.interface import LoadOptions, ModelRefused
from daiic.worker.engines.transformers_text import chat_template
from daiic.worker.memory.budget import MemoryBudget
from support.models.image_families import FAMILIES

torch.set_num_threads(1)

ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)


@pytest.fixture
def children(monkeypatch):
    """The processes that were started for templates."""
    started = []
    begin = subprocess.Popen

    def noted(*arguments, **options):
        started.append(begin(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(chat_template.subprocess, "Popen", noted)
    return started


@pytest.fixture(scope="module")
def pipeline():
    return next(family for family in FAMILIES if family.name == "Z-Image").build()


async def load(pipeline, path, template):
    pipeline.tokenizer.chat_template = template
    pipeline.save_pretrained(path)
    return await load_image(
        path,
        LoadOptions(choose("cpu")),
        MemoryBudget(vram_bytes=0, ram_bytes=2 << 30),
        lambda share: None,
    )


async def draw(engine):
    task = pb.Task(image=pb.ImageTask(prompt="a cat", width=64, height=64, steps=1))
    async with asyncio.timeout(90):
        return [part async for part in engine.run(task)]


async def test_a_template_without_end_refuses_the_pipeline(
    pipeline, tmp_path, monkeypatch, children
):
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 0.3)
    engine = await load(pipeline, tmp_path / "endless", ENDLESS)
    for _ in range(2):
        with pytest.raises(ModelRefused) as refused:
            await draw(engine)
        assert "endless is refused: its chat template takes too much time" in str(refused.value)
    assert all(child.poll() is not None for child in children)
    await engine.close()


async def test_the_process_of_a_template_ends_with_its_pipeline(pipeline, tmp_path, children):
    engine = await load(pipeline, tmp_path / "plain", "{{ messages[0].content }}")
    assert (await draw(engine))[-1].images
    assert children and all(child.poll() is None for child in children)
    await engine.close()
    assert all(child.poll() is not None for child in children)
