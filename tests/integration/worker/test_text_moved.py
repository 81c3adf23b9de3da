"""An answer that moves goes on where the model is the same, and starts over where it is not."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.answer import answer
from daiic.worker.backend import choose
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.loading import EngineLoader
from daiic.worker.memory.manager import ModelManager
from daiic.worker.memory.meter import MemoryMeter
from daiic.worker.models.catalog import Catalog
from support.models.tiny_models import language_model

TEXT = pb.TextTask(
    messages=[pb.ChatMessage(role="user", content="hello")], max_tokens=24, temperature=0.8, seed=7
)
BEGUN = 3
"""Parts of the answer that the first worker delivers."""


@contextlib.asynccontextmanager
async def worker(
    models: Path, quantization: str, precision: str = "auto"
) -> AsyncIterator[ModelManager]:
    backend = choose("cpu")
    manager = ModelManager(
        Catalog(models, models.parent / "cache"),
        MemoryMeter(backend),
        EngineLoader(LoadOptions(backend, quantization=quantization, precision=precision, slots=2)),
        None,
        ram_offload=True,
    )
    await manager.rescan()
    try:
        yield manager
    finally:
        await manager.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    language_model(folder / "tiny")
    return folder


async def answered(manager: ModelManager, resume: pb.Resume | None = None) -> list[pb.Result]:
    task = pb.Task(model="tiny", stream=True, text=TEXT, resume=resume)
    return [part async for part in answer(manager, task) if not part.HasField("progress")]


def tokens(parts: list[pb.Result]) -> list[int]:
    return [token for part in parts for token in part.tokens]


def begun(parts: list[pb.Result]) -> pb.Resume:
    """Return what a head keeps of the first parts of an answer."""
    first = parts[:BEGUN]
    return pb.Resume(
        tokens=tokens(first),
        text="".join(part.text for part in first),
        index=BEGUN,
        model=first[0].model,
    )


async def test_an_answer_goes_on_exactly_on_a_copy_of_the_model(
    models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "tiny", tmp_path / "copies" / "tiny")
    async with worker(models, "4bit") as one, worker(tmp_path / "copies", "4bit") as other:
        whole = await answered(one)
        resume = begun(whole)
        rest = await answered(other, resume)
    assert all((resume.model.weights, resume.model.tokenizer, resume.model.quantization == "4bit"))
    assert rest[0].model == resume.model
    assert tokens(whole) == [*resume.tokens, *tokens(rest)]
    assert "".join(part.text for part in whole) == resume.text + "".join(p.text for p in rest)
    assert not any(part.started_over for part in rest)


async def test_an_answer_starts_over_where_the_model_is_not_quantised(models: Path) -> None:
    async with worker(models, "4bit") as one, worker(models, "none") as other:
        resume = begun(await answered(one))
        again = await answered(other, resume)
        whole = await answered(other)
    assert again[0].started_over and again[0].model.quantization == "none"
    assert [part.index for part in again] == list(range(BEGUN, BEGUN + len(again)))
    assert tokens(again) == tokens(whole), "the other model's own answer, from its beginning"


async def test_an_answer_starts_over_where_the_model_computes_in_another_precision(
    models: Path,
) -> None:
    async with worker(models, "none") as one, worker(models, "none", "bfloat16") as other:
        resume = begun(await answered(one))
        again = await answered(other, resume)
        (status,) = other.statuses()
    assert resume.model.precision == "float32"
    assert again[0].started_over and again[0].model.precision == "bfloat16"
    assert "computes in bfloat16, as it is set" in status.choice


CAPABLE = {pb.CHAT, pb.COMPLETE, pb.EMBED, pb.SAMPLING, pb.TOKENS}


async def test_heartbeats_say_what_a_model_can_do_and_what_it_is(models: Path) -> None:
    async with worker(models, "none") as one:
        (before,) = one.statuses()
        parts = await answered(one)
        (loaded,) = one.statuses()
    # Only when it is loaded is it known to have no token that ends a text.
    for status, more in ((before, {pb.SCHEMA}), (loaded, set())):
        assert set(status.capabilities) == {*CAPABLE, *more}
    assert not before.HasField("identity") and loaded.identity == parts[0].model
