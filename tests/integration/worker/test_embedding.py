"""Sentence embeddings are what the model's publisher says they are."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.encoder_engine import EncoderEngine
from daiic.worker.engines.torch.text_batches import batches
from daiic.worker.engines.torch.tokenizer import PIECE
from daiic.worker.engines.transformers_embedding.embedder import Embedder
from daiic.worker.engines.transformers_embedding.load import load as load_embedding
from daiic.worker.engines.transformers_embedding.recipe import Recipe
from daiic.worker.memory.budget import MemoryBudget
from support.models.tiny_models import sentence_model

TEXTS = ["one", "two and a little more", "🙂" * 30, "four", "schöne Häuser " * 40] * 5


async def loaded(path: Path, quantization: str = "none") -> EncoderEngine:
    torch.set_num_threads(1)
    return await load_embedding(
        path,
        LoadOptions(backend.choose("cpu"), quantization=quantization),
        MemoryBudget(vram_bytes=0, ram_bytes=1 << 30),
        lambda done: None,
    )


async def embedded(engine: EncoderEngine, texts: list[str]) -> tuple[torch.Tensor, int]:
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
    modules.append({"idx": 3, "path": "3_CNN", "type": "sentence_transformers.models.CNN"})
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(TaskError, match='a step "CNN"'):
        await loaded(path)


async def test_a_text_task_is_refused(tmp_path: Path) -> None:
    engine = await loaded(sentence_model(tmp_path / "model"))
    with pytest.raises(TaskError, match="embeddings only"):
        async for _ in engine.run(pb.Task(model="tiny", text=pb.TextTask(prompt="x"))):
            pass
    await engine.close()


def with_dense(path: Path, width: int = 32, **config: str) -> torch.nn.Linear:
    """Add a linear layer, with a bias, after the model's pooling."""
    modules = json.loads((path / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (path / "modules.json").write_text(json.dumps(modules))
    layer = torch.nn.Linear(width, 8).requires_grad_(False)
    (path / "2_Dense").mkdir()
    (path / "2_Dense" / "config.json").write_text(json.dumps(config))
    weights = {f"linear.{name}": weight for name, weight in layer.state_dict().items()}
    save_file(weights, path / "2_Dense" / "model.safetensors")
    return layer


async def test_a_linear_layer_after_pooling_is_applied_with_its_activation(tmp_path: Path) -> None:
    path = sentence_model(tmp_path / "model", normalize=False)
    layer = with_dense(path, activation_function="torch.nn.modules.activation.Tanh")
    engine = await loaded(path)
    vectors, _ = await embedded(engine, ["one"])
    pooled, _ = expected(path, "one", "mean", False)
    assert torch.allclose(vectors[0], torch.tanh(layer(pooled)), atol=1e-5)
    await engine.close()


async def test_a_linear_layer_that_is_pickled_is_refused(tmp_path: Path) -> None:
    path = sentence_model(tmp_path / "model")
    with_dense(path)
    file = path / "2_Dense" / "model.safetensors"
    file.rename(file.with_name("pytorch_model.bin"))
    with pytest.raises(TaskError) as refusal:
        await loaded(path)
    assert refusal.value.code == pb.UNSAFE_WEIGHTS
    assert "2_Dense" in refusal.value.message


@pytest.mark.parametrize(
    ("width", "config", "said"),
    [
        (16, {}, "vectors of 32 numbers"),
        (32, {"activation_function": "os.system"}, "unknown activation os.system"),
    ],
)
async def test_a_linear_layer_that_does_not_fit_is_refused(
    tmp_path: Path, width: int, config: dict[str, str], said: str
) -> None:
    path = sentence_model(tmp_path / "model")
    with_dense(path, width, **config)
    with pytest.raises(TaskError) as refusal:
        await loaded(path)
    assert refusal.value.code == pb.BAD_REQUEST
    assert said in refusal.value.message


@pytest.mark.parametrize("pools_prompt", [True, False])
async def test_the_publishers_default_prompt_comes_before_every_input(
    tmp_path: Path, pools_prompt: bool
) -> None:
    path = sentence_model(tmp_path / "model", normalize=False)
    config = {"prompts": {"query": "two and "}, "default_prompt_name": "query"}
    (path / "config_sentence_transformers.json").write_text(json.dumps(config))
    pooling = json.loads((path / "1_Pooling" / "config.json").read_text())
    pooling["include_prompt"] = pools_prompt
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    engine = await loaded(path)
    vectors, _ = await embedded(engine, ["a little more", "one"])
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokens = tokenizer("two and a little more", return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(path).eval()(**tokens).last_hidden_state[0]
    counted = states if pools_prompt else states[len(tokenizer("two and ").input_ids) :]
    assert torch.allclose(vectors[0], counted.mean(0), atol=1e-5)
    await engine.close()


async def test_of_long_inputs_no_more_is_made_into_tokens_than_can_matter(tmp_path: Path) -> None:
    path = sentence_model(tmp_path / "model")
    tokenizer, given = AutoTokenizer.from_pretrained(path), []

    class Counting:
        model_max_length, pad_token_id = 48, tokenizer.pad_token_id

        def __call__(self, texts: list[str], **options: object) -> object:
            given.append(sum(map(len, texts)))
            return tokenizer(texts, **options)

    embedder = Embedder(AutoModel.from_pretrained(path), Counting(), Recipe())
    long = "two and a little more" * 50_000
    answer = await embedder.answer(pb.Task(embed=pb.EmbedTask(inputs=[long, "one", long] * 50)))
    embedder.stop()
    assert answer.usage.prompt_tokens > 48 * 100
    assert max(given) <= PIECE
    assert sum(given) < 100 * 1024


def test_long_inputs_share_no_forward_pass_that_takes_memory_by_the_square_of_their_length() -> (
    None
):
    lengths = [30_000, 5, 4000, 7, 4000, 4000] + [10] * 20
    together = list(batches(lengths))
    assert sorted(number for batch in together for number in batch) == list(range(len(lengths)))
    assert all(len(batch) <= 16 for batch in together)
    assert all(
        len(batch) * max(lengths[n] for n in batch) <= 8192 for batch in together if len(batch) > 1
    )
    assert len(together) == 5
