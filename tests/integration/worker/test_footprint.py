"""What a model is expected to need is what it takes when it is loaded."""

from pathlib import Path

import pytest
import torch
import transformers

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.diffusers import load as image
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import weights
from daiic.worker.engines.transformers_text import load as text
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from support.models.tiny_models import language_model

torch.set_num_threads(1)

PROCESSOR = choose("cpu")
PLENTY = MemoryBudget(vram_bytes=0, ram_bytes=8 << 30)
SHAPES = Path(__file__).parents[3] / "local-models" / "tiny-shapes.safetensors"


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_language_models_take_what_was_expected(tmp_path: Path, quantization: str) -> None:
    path = language_model(tmp_path / "model", intermediate_size=8192)
    loaded = weights.load(
        transformers.AutoModelForCausalLM,
        path,
        backend=PROCESSOR,
        quantization=quantization,
        precision="auto",
        budget=PLENTY,
        ram_offload=True,
        progress=lambda done: None,
    )
    assert loaded.quantization == quantization
    expected = text.expected_weights(
        Model("model", path, pb.TEXT), LoadOptions(PROCESSOR, quantization=quantization)
    )
    assert loaded.footprint == pytest.approx(expected, rel=0.1)


async def test_image_pipelines_take_what_was_expected() -> None:
    engine = await image.load(SHAPES, LoadOptions(PROCESSOR), PLENTY, lambda done: None)
    await engine.close()
    expected = image.expected_weights(Model("shapes", SHAPES, pb.IMAGE), LoadOptions(PROCESSOR))
    assert engine.footprint == pytest.approx(expected, rel=0.02)
