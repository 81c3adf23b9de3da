"""Language models of every family that people run are served, and say what `generate` says.

Each is loaded as a user's worker would load it, on this machine's memory and with 4 bit as the
settings have it, and then in 8 bit and whole.
"""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.load import load as load_text
from daiic.worker.engines.transformers_text.turns import Turns
from daiic.worker.memory.meter import MemoryMeter
from daiic.worker.settings import WorkerSettings
from support.models.models_document import ModelsTable
from support.models.text_families import FAMILIES, WITH_IMAGES, family

TABLE = ModelsTable(
    "language models",
    ("Served", "Not quantised", "8 bit", "4 bit", "Remarks"),
    list(FAMILIES),
)
COLUMNS = {"none": "Not quantised", "8bit": "8 bit", "4bit": "4 bit"}

NEARLY = {"none": 1e-3, "8bit": 0.3, "4bit": 0.02}
"""How far below the model's own choice another token may be, in standard deviations of the logits:
another order of adding rounds otherwise, and 8 bit rounds a row as its neighbours need it."""

TOKENS = 6
TWINS = "The quick brown fox jumps", "The brown quick fox jumps"
SHORT = "Grüße aus Köln"
LONG = "The lazy dog does not mind. " * 80
"""Longer than a step, and than the windows that are short enough to be tried."""

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Write a family's model when it is first asked for, and return its folder."""
    torch.set_num_threads(1)
    # pytest keeps log records, and those of a kernel that is not there keep the model.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    gc.freeze()  # as the worker does: each unloading searches for what it leaves
    folder = tmp_path_factory.mktemp("families")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.is_dir() else family(name, path)

    yield make
    gc.unfreeze()


async def loaded(path: Path, quantization: str) -> TextEngine:
    cpu = backend.choose("cpu")
    return await load_text(
        path,
        LoadOptions(cpu, quantization=quantization, slots=4),
        MemoryMeter(cpu).budget(0),
        lambda done: None,
    )


async def answer(engine: TextEngine, prompt: str, delivered: Sequence[int] = ()) -> list[int]:
    task = pb.Task(stream=True, resume=pb.Resume(tokens=delivered))
    task.text.CopyFrom(pb.TextTask(prompt=prompt, max_tokens=TOKENS, temperature=0))
    return [token async for part in engine.run(task) for token in part.tokens]


@torch.inference_mode()
def expected(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """Return what `generate` says to prompts of one length."""
    ids = torch.tensor(prompts)
    said = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=TOKENS,
        do_sample=False,
        use_cache=True,
    )
    return said[:, ids.shape[1] :].tolist()


@torch.inference_mode()
def is_said(model: Any, prompt: list[int], made: list[int], said: list[int], near: float) -> bool:
    """Whether `made` is `said`, or leaves it where the model is undecided between both."""
    for place, (one, other) in enumerate(zip(made, said, strict=False)):
        if one != other:
            tokens = torch.tensor([prompt + made[:place]])
            logits = model(input_ids=tokens, use_cache=False).logits[0, -1].float()
            return bool((logits.max() - logits[one]) / logits.std() <= near)
    return len(made) == len(said)


def way(engine: TextEngine) -> str:
    return "text by text" if isinstance(engine._current.generator, Turns) else "in batches"


async def serves(path: Path, quantization: str, prompts: list[str]) -> TextEngine:
    """Return the engine of a model after it has answered as `generate` does, alone and together."""
    engine = await loaded(path, quantization)
    try:
        model, near = engine._model, NEARLY[quantization]
        ids = [engine._tokenizer(prompt).input_ids for prompt in prompts]
        together = await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))
        twins = expected(model, ids[:2])
        said = twins + [expected(model, [prompt])[0] for prompt in ids[2:]]
        for prompt, one, other in zip(ids, together, said, strict=True):
            assert is_said(model, prompt, one, other, near)
        alone = await answer(engine, prompts[0])
        assert is_said(model, ids[0], alone, said[0], near)
        delivered = said[1][: TOKENS // 2]
        rest = await answer(engine, prompts[1], delivered)
        assert is_said(model, ids[1] + delivered, rest, said[1][TOKENS // 2 :], near)
        await embeds(engine)
    except BaseException:
        await engine.close()
        raise
    return engine


async def embeds(engine: TextEngine) -> None:
    """The vector of a text is the mean of what the model without its head makes of its tokens."""
    task = pb.Task(embed=pb.EmbedTask(inputs=[SHORT]))
    [part] = [part async for part in engine.run(task)]
    ids = torch.tensor([engine._tokenizer(SHORT).input_ids])
    with torch.inference_mode():
        states = engine._model(input_ids=ids, output_hidden_states=True, use_cache=False)
    mean = states.hidden_states[-1][0].float().mean(0)
    vector = torch.tensor(part.embeddings[0].values)
    assert torch.cosine_similarity(mean, vector, dim=0) > 0.99


async def closed(engine: TextEngine) -> None:
    """Close it; nothing of its model may be left, once the threads that ran it are at rest."""
    weights = weakref.ref(engine._model)
    await engine.close()
    async with asyncio.timeout(30):
        while weights() is not None:
            await asyncio.sleep(0.01)
            gc.collect()


def test_without_settings_weights_are_as_exact_as_memory_allows() -> None:
    assert WorkerSettings().quantization == "auto"


@pytest.mark.parametrize("quantization", ["4bit", "8bit", "none"])
@pytest.mark.parametrize("name", FAMILIES)
async def test_a_family_is_served_and_says_what_generate_says(
    made: Make, name: str, quantization: str
) -> None:
    whole = quantization == "none"
    engine = await serves(made(name), quantization, [*TWINS, LONG if whole else SHORT])
    in_force = engine.quantization == quantization
    assert in_force or "bitsandbytes cannot quantise it" in engine.fallback
    cell = "all but experts" if "experts are not quantised" in engine.fallback else "yes"
    TABLE.observe(name, COLUMNS[quantization], cell if in_force else "not quantised")
    if whole:
        TABLE.observe(name, "Served", way(engine))
        reason = engine.fallback.removeprefix("not batched: ")
        TABLE.observe(name, "Remarks", reason or "–")
    await closed(engine)


@pytest.mark.parametrize("name", WITH_IMAGES)
async def test_a_model_that_reads_images_too_answers_texts(made: Make, name: str) -> None:
    engine = await serves(made(name), "4bit", [*TWINS, SHORT])
    assert engine.quantization == "4bit"
    await closed(engine)


def test_the_document_says_what_was_observed() -> None:
    TABLE.check()
