"""Embeddings of tokens, by prompts, and shorter ones: where the model is made for it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.registry import choose
from daiic.worker.engines.torch.encoder_engine import EncoderEngine
from daiic.worker.engines.transformers_embedding.load import load
from daiic.worker.memory.budget import MemoryBudget
from support.models.tiny_models import sentence_model

PROMPTS = {"query": "find: ", "Document": "read: "}


def published(path: Path, config: dict[str, Any], beside: dict[str, Any] | None = None) -> Path:
    """Write a sentence embedder with `config` in config.json, and `beside` in its other one."""
    sentence_model(path)
    own = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(own | config))
    (path / "config_sentence_transformers.json").write_text(json.dumps(beside or {}))
    return path


async def loaded(path: Path) -> EncoderEngine:
    torch.set_num_threads(1)
    budget = MemoryBudget(vram_bytes=0, ram_bytes=1 << 30)
    return await load(path, LoadOptions(backend.choose("cpu")), budget, lambda done: None)


async def vector(engine: EncoderEngine, **embed: Any) -> torch.Tensor:
    task = pb.Task(model="m", embed=pb.EmbedTask(**embed))
    [answer] = [part async for part in engine.run(task)]
    return torch.tensor(list(answer.embeddings[0].values))


@pytest.mark.parametrize(
    ("config", "beside", "able"),
    [
        ({}, {}, set()),
        ({"matryoshka_dimensions": [8, 16]}, {}, {pb.DIMENSIONS}),
        ({"is_matryoshka": True}, {}, {pb.DIMENSIONS}),
        ({}, {"truncate_dim": 16}, {pb.DIMENSIONS}),
        ({}, {"prompts": PROMPTS}, {pb.PROMPTS}),
    ],
)
async def test_a_model_says_what_may_be_asked_of_it(
    tmp_path: Path, config: dict[str, Any], beside: dict[str, Any], able: set[pb.Capability]
) -> None:
    path = published(tmp_path / "model", config, beside)
    engine = await loaded(path)
    assert engine.capabilities == able | {pb.EMBED, pb.TOKENS}
    assert choose(path, "model")[1].capabilities == engine.capabilities
    await engine.close()


async def test_a_shorter_vector_is_the_beginning_of_the_whole_one_and_of_length_one(
    tmp_path: Path,
) -> None:
    engine = await loaded(published(tmp_path / "model", {"matryoshka_dimensions": [16, 8]}))
    whole = await vector(engine, inputs=["one"])
    short = await vector(engine, inputs=["one"], dimensions=8)
    assert torch.allclose(short, torch.nn.functional.normalize(whole[:8], dim=-1), atol=1e-6)
    assert torch.equal(await vector(engine, inputs=["one"], dimensions=32), whole)
    with pytest.raises(TaskError, match="trained for") as refusal:
        await vector(engine, inputs=["one"], dimensions=9)
    assert refusal.value.remedy == "choose one of: 8, 16"
    await engine.close()


async def test_the_usual_length_is_the_publishers(tmp_path: Path) -> None:
    engine = await loaded(published(tmp_path / "model", {}, {"truncate_dim": 8}))
    assert len(await vector(engine, inputs=["one"])) == 8
    assert len(await vector(engine, inputs=["one"], dimensions=20)) == 20
    with pytest.raises(TaskError) as refusal:
        await vector(engine, inputs=["one"], dimensions=33)
    assert refusal.value.remedy == "choose 1 to 32"
    await engine.close()


async def test_a_model_that_is_not_made_for_it_keeps_its_length(tmp_path: Path) -> None:
    engine = await loaded(published(tmp_path / "model", {}))
    with pytest.raises(TaskError) as refusal:
        await vector(engine, inputs=["one"], dimensions=8)
    assert refusal.value.code == pb.UNSUPPORTED
    await engine.close()


async def test_tokens_are_taken_as_they_are(tmp_path: Path) -> None:
    path = published(tmp_path / "model", {})
    engine = await loaded(path)
    ids = AutoTokenizer.from_pretrained(path)("two and more").input_ids
    by_tokens = await vector(engine, token_inputs=[pb.Tokens(tokens=ids)])
    assert torch.allclose(by_tokens, await vector(engine, inputs=["two and more"]), atol=1e-6)
    for wrong, said in (
        ({"token_inputs": [pb.Tokens(tokens=[2**32 - 1])]}, "the model does not have"),
        ({"token_inputs": [pb.Tokens()]}, "is empty"),
        ({"token_inputs": [pb.Tokens(tokens=ids)], "inputs": ["a"]}, "as they are"),
    ):
        with pytest.raises(TaskError, match=said):
            await vector(engine, **wrong)
    long = pb.Tokens(tokens=ids * 100)
    assert torch.isfinite(await vector(engine, token_inputs=[long])).all()
    await engine.close()


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("query", "find: "),
        ("search_query", "find: "),
        ("retrieval.passage", "read: "),
        ("Document", "read: "),
        ("", ""),
    ],
)
async def test_a_prompt_is_named_as_the_model_does_or_as_others_do(
    tmp_path: Path, name: str, prompt: str
) -> None:
    engine = await loaded(published(tmp_path / "model", {}, {"prompts": PROMPTS}))
    named = await vector(engine, inputs=["one"], prompt_name=name)
    assert torch.allclose(named, await vector(engine, inputs=[f"{prompt}one"]), atol=1e-6)
    with pytest.raises(TaskError, match="no prompt 'clustering'") as refusal:
        await vector(engine, inputs=["one"], prompt_name="clustering")
    assert refusal.value.remedy == "it has: query, Document"
    await engine.close()


@pytest.mark.parametrize(
    ("config", "beside"),
    [
        ({"matryoshka_dimensions": ["8"]}, {}),
        ({"matryoshka_dimensions": [0]}, {}),
        ({"matryoshka_dimensions": {"8": 1}}, {}),
        ({}, {"truncate_dim": -1}),
        ({}, {"prompts": ["query"]}),
        ({}, {"prompts": {"query": 5}}),
        ({}, {"prompts": {"query": "x" * 10_000}}),
        ({}, {"default_prompt_name": "query"}),
    ],
)
def test_files_without_sense_refuse_the_model(
    tmp_path: Path, config: dict[str, Any], beside: dict[str, Any]
) -> None:
    with pytest.raises(TaskError):
        choose(published(tmp_path / "model", config, beside), "model")
