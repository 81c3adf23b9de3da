"""What a text shares with an earlier one from its beginning is not read again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from daiic.worker.engines.transformers_text.batch import PAGE
from daiic.worker.engines.transformers_text.engine import TextEngine
from integration.worker.test_text import parts, serving, task
from support.models.text_families import family
from support.models.tiny_models import language_model

SHARED = "The quick brown fox jumps over the lazy dog, and the dog does not mind. " * 12
"""Several blocks of the cache."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny", context=2048)


@pytest.fixture
async def engine(model: Path) -> AsyncIterator[TextEngine]:
    async with serving(model) as engine:
        yield engine


@contextmanager
def counted(engine: TextEngine) -> Iterator[list[int]]:
    """Count the tokens that the model computes, step by step."""
    steps: list[int] = []
    layer = engine._model.get_input_embeddings()
    hook = layer.register_forward_pre_hook(lambda _, inputs: steps.append(inputs[0].numel()))
    yield steps
    hook.remove()


@pytest.mark.parametrize("temperature", [0, 1])
async def test_a_second_text_with_the_same_beginning_reads_the_rest_only(
    model: Path, engine: TextEngine, temperature: float
) -> None:
    wanted = task(SHARED + "Grüße", max_tokens=20, temperature=temperature, seed=5)
    async with serving(model) as fresh:
        expected = await parts(fresh, wanted)
    assert expected[-1].usage.cached_tokens == 0
    length = expected[-1].usage.prompt_tokens
    await parts(engine, task(SHARED + "日本", max_tokens=3, temperature=0))
    with counted(engine) as steps:
        answer = await parts(engine, wanted)
    cached = answer[-1].usage.cached_tokens
    shared = len(engine._tokenizer(SHARED).input_ids)
    assert shared - PAGE - 1 <= cached <= shared
    assert sum(steps) == length - cached + 19
    assert [t for p in answer for t in p.tokens] == [t for p in expected for t in p.tokens]


async def test_a_continued_text_counts_what_it_shares_of_its_prompt(engine: TextEngine) -> None:
    first = await parts(engine, task(SHARED, max_tokens=80, temperature=0))
    assert first[-1].usage.cached_tokens == 0
    made = [token for part in first for token in part.tokens]
    resumed = task(SHARED, max_tokens=80, temperature=0)
    resumed.resume.tokens.extend(made[:70])
    rest = await parts(engine, resumed)
    assert [token for part in rest for token in part.tokens] == made[70:]
    length = rest[-1].usage.prompt_tokens
    assert length - PAGE < rest[-1].usage.cached_tokens <= length


async def test_texts_that_run_side_by_side_share_and_end_as_they_like(engine: TextEngine) -> None:
    beginning = SHARED[: len(SHARED) // 4]  # four texts with it have room in the first cache
    await parts(engine, task(beginning, max_tokens=2))
    tasks = [task(beginning + "x" * n, max_tokens=9 - n, seed=n, temperature=1) for n in range(4)]
    together = await asyncio.gather(*(parts(engine, wanted) for wanted in tasks))
    assert all(answer[-1].usage.cached_tokens > 0 for answer in together)
    alone = [await parts(engine, wanted) for wanted in tasks]
    for one, other in zip(together, alone, strict=True):
        assert [t for p in one for t in p.tokens] == [t for p in other for t in p.tokens]


async def test_a_text_that_shares_nothing_is_read_whole(engine: TextEngine) -> None:
    await parts(engine, task(SHARED, max_tokens=2))
    answer = await parts(engine, task("x" + SHARED, max_tokens=2))
    assert answer[-1].usage.cached_tokens == 0


async def test_a_model_with_windows_reads_each_text_whole(tmp_path: Path) -> None:
    async with serving(family("Mistral", tmp_path / "windows")) as engine:
        answers = [await parts(engine, task(SHARED, max_tokens=3, temperature=0)) for _ in "ab"]
    assert [answer[-1].usage.cached_tokens for answer in answers] == [0, 0]
    one, other = ([t for p in answer for t in p.tokens] for answer in answers)
    assert one == other
