"""Families of sentence embedders: each embeds as its publisher says; docs/models.md says so.

What is expected is computed here from the model as it was before it was saved, one text at a time
and without padding.
"""

import weakref

import pytest
import torch
from safetensors.torch import load_file
from transformers.modeling_outputs import BaseModelOutput

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import weights
from daiic.worker.engines.transformers_embedding.load import load as load_embedding
from daiic.worker.memory.budget import MemoryBudget
from support.models.embedding_families import FAMILIES, WIDTH, Family
from support.models.models_document import ModelsTable

torch.set_num_threads(1)

ENDS = {
    "BERT": ("[CLS]", "[SEP]"),
    "MPNet": ("<s>", "</s>"),
    "XLM-R": ("<s>", "</s>"),
    "ModernBERT": ("[CLS]", "[SEP]"),
    "Qwen3-Embedding": (None, "<|endoftext|>"),
    "EmbeddingGemma": ("<bos>", "<eos>"),
}
"""The tokens that begin and end every input."""
TEXTS = ["a cat", "on the mat sat a cat that was rather large", "b", "many words, " * 15, "a cat"]
RUN = 2048
"""The longest context that is run whole; of longer ones what the model is given is compared."""
TABLE = ModelsTable(
    "embedding models",
    ["Built after", "Pooling", "Then", "Cut at", "Checked against"],
    [family.name for family in FAMILIES],
)


async def load(path):
    return await load_embedding(
        path,
        LoadOptions(choose("cpu")),
        MemoryBudget(vram_bytes=0, ram_bytes=2 << 30),
        lambda done: None,
    )


async def embedded(engine, texts):
    [answer] = [part async for part in engine.run(pb.Task(embed=pb.EmbedTask(inputs=texts)))]
    vectors = torch.tensor([list(embedding.values) for embedding in answer.embeddings])
    return vectors, answer.usage.prompt_tokens


class Reference:
    """A family's own computation, from its `model` in memory and its files in `folder`."""

    def __init__(self, family: Family, folder) -> None:
        self.family, self.folder = family, folder
        self.model, self.tokenizer = family.publish(folder)

    def tokens(self, text):
        first, last = ENDS[self.family.name]
        inner = self.tokenizer(text, add_special_tokens=False).input_ids
        room = self.family.longest - 1 - (first is not None)
        ends = [[self.tokenizer.convert_tokens_to_ids(end)] if end else [] for end in (first, last)]
        return ends[0] + inner[:room] + ends[1]

    @torch.inference_mode()
    def embed(self, text):
        ids = torch.tensor([self.tokens(text)])
        states = self.model(input_ids=ids).last_hidden_state[0]
        pooling = self.family.pooling
        vector = {"cls_token": states[0], "lasttoken": states[-1]}.get(pooling, states.mean(0))
        for number, _ in enumerate(self.family.dense, 2):
            file = self.folder / f"{number}_Dense" / "model.safetensors"
            vector = load_file(file)["linear.weight"] @ vector
        return vector / vector.norm() if self.family.normalize else vector


@pytest.fixture
def models_alive(monkeypatch):
    """Weak references to every model that is loaded."""
    models = []
    load_weights = weights.load

    def noted(*arguments, **options):
        loaded = load_weights(*arguments, **options)
        models.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(weights, "load", noted)
    return lambda: [model() for model in models if model() is not None]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
async def test_each_family_embeds_as_its_publisher_says(
    family, tmp_path, models_alive, monkeypatch
):
    reference = Reference(family, tmp_path / family.name)
    engine = await load(reference.folder)
    assert (engine.model_kind, engine.quantization, engine.fallback) == (pb.EMBEDDING, "none", "")
    vectors, tokens = await embedded(engine, TEXTS)
    expected = torch.stack([reference.embed(text) for text in TEXTS])
    assert torch.allclose(vectors, expected, atol=1e-4)
    assert tokens == sum(len(reference.tokens(text)) for text in TEXTS)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)

    longest = "so long " * (family.longest // 4)
    if family.longest <= RUN:
        vectors, tokens = await embedded(engine, [longest, "a cat"])
        assert torch.allclose(vectors[0], reference.embed(longest), atol=1e-4)
        assert torch.allclose(vectors[1], expected[0], atol=1e-4)
    else:
        seen = []

        def instead(self, input_ids, **_):
            seen.extend(input_ids.tolist())
            return BaseModelOutput(torch.ones(*input_ids.shape, WIDTH))

        monkeypatch.setattr(type(reference.model), "forward", instead)
        _, tokens = await embedded(engine, [longest, "a cat"])
        assert seen == [reference.tokens("a cat"), reference.tokens(longest)]
    assert tokens == family.longest + len(reference.tokens("a cat"))

    assert models_alive()
    await engine.close()
    assert not models_alive()
    TABLE.observe(family.name, "Built after", f"`{family.example}`")
    TABLE.observe(family.name, "Pooling", family.pooling.partition("_")[0])
    steps = ["Dense"] * len(family.dense) + ["Normalize"] * family.normalize
    TABLE.observe(family.name, "Then", ", ".join(steps) or "nothing")
    TABLE.observe(family.name, "Cut at", f"{family.longest} tokens")
    TABLE.observe(family.name, "Checked against", f"`{type(reference.model).__name__}`")


def test_the_document_says_what_was_observed():
    TABLE.check()
