"""Sentence embeddings are what the model's publisher says they are."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.embedding import load_embedding
from daiic.worker.embedding.engine import EmbeddingEngine
from daiic.worker.memory_budget import MemoryBudget
from tiny_models import sentence_model

TEXTS = ["one", "two and a little more", "🙂" * 30, "four", "schöne Häuser " * 40] * 5


async def loaded(path: Path, quantization: str = "none") -> EmbeddingEngine:
    torch.set_num_threads(1)
    return await load_embedding(
        path,
        backend=backend.choose("cpu"),
        quantization=quantization,
        budget=MemoryBudget(vram_bytes=0, ram_bytes=1 << 30),
        ram_offload=True,
        slots=2,
        progress=lambda done: None,
    )


async def embedded(engine: EmbeddingEngine, texts: list[str]) -> tuple[torch.Tensor, int]:
    [answer] = [part async for part in engine.run(pb.Task(embed=pb.EmbedTask(inputs=texts)))]
    assert answer.final
    return (
        torch.tensor([list(embedding.values) for embedding in answer.embeddings]),
        answer.usage.prompt_tokens,
    )


def expected(path: Path, text: str, pooling: str, normalize: bool) -> tuple[torch.Tensor, int]:
    """Return the embedding of one text, without a batch or padding."""
    tokens = AutoTokenizer.from_pretrained(path)(
        text, truncation=True, max_length=48, return_tensors="pt"
    )
    with torch.inference_mode():
        states = AutoModel.from_pretrained(path).eval()(**tokens).last_hidden_state[0]
    vector = {
        "mean": states.mean(0),
        "cls": states[0],
        "max": states.max(0).values,
        "lasttoken": states[-1],
    }[pooling]
    return vector / vector.norm() if normalize else vector, states.shape[0]


@pytest.mark.parametrize(
    ("pooling", "normalize"),
    [("mean", True), ("mean", False), ("cls", True), ("max", False), ("lasttoken", True)],
)
async def test_batched_embeddings_are_those_of_each_text_alone(
    tmp_path: Path, pooling: str, normalize: bool
) -> None:
    path = sentence_model(tmp_path / "model", pooling=pooling, normalize=normalize)
    engine = await loaded(path)
    vectors, tokens = await embedded(engine, TEXTS)
    alone = [expected(path, text, pooling, normalize) for text in TEXTS[:5]] * 5
    assert torch.allclose(vectors, torch.stack([vector for vector, _ in alone]), atol=1e-5)
    assert tokens == sum(count for _, count in alone)
    await engine.close()


async def test_a_model_without_a_recipe_gets_the_mean_of_length_one(tmp_path: Path) -> None:
    path = sentence_model(tmp_path / "model")
    (path / "modules.json").unlink()
    engine = await loaded(path)
    vectors, _ = await embedded(engine, ["one"])
    assert torch.allclose(vectors[0], expected(path, "one", "mean", True)[0], atol=1e-5)
    await engine.close()


async def test_embeddings_are_not_quantised_and_the_engine_says_so(tmp_path: Path) -> None:
    engine = await loaded(sentence_model(tmp_path / "model"), "4bit")
    assert engine.quantization == "none"
    assert engine.fallback
    await engine.close()


@pytest.mark.parametrize(("inputs", "said"), [([], "`inputs` is empty"), (["a", ""], "inputs[1]")])
async def test_nothing_to_embed_is_refused(tmp_path: Path, inputs: list[str], said: str) -> None:
    engine = await loaded(sentence_model(tmp_path / "model"))
    with pytest.raises(TaskError) as refusal:
        await embedded(engine, inputs)
    assert said in refusal.value.message
    await engine.close()


async def test_a_step_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = sentence_model(tmp_path / "model")
    modules = json.loads((path / "modules.json").read_text())
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(TaskError, match='a step "Dense"'):
        await loaded(path)


async def test_a_text_task_is_refused(tmp_path: Path) -> None:
    engine = await loaded(sentence_model(tmp_path / "model"))
    with pytest.raises(TaskError, match="embeddings only"):
        async for _ in engine.run(pb.Task(model="tiny", text=pb.TextTask(prompt="x"))):
            pass
    await engine.close()
