"""What a model is expected to need follows from its weights and from how they will be loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.engines.diffusers import load as image
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_embedding import load as embedding
from daiic.worker.engines.transformers_text import load as text
from daiic.worker.models.model import Model

GPU = Backend(pb.CUDA, torch.device("cuda", 0), "A GPU")
PROCESSOR = Backend(pb.CPU, torch.device("cpu"), "A processor")
MATRIX, OTHERS = 256 * 256, 1000
NUMBERS = MATRIX + OTHERS


@pytest.fixture(autouse=True)
def new_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


def weights(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"layer.weight": torch.zeros(256, 256), "layer.bias": torch.zeros(OTHERS)}
    save_file({name: tensor.half() for name, tensor in tensors.items()}, file)


@pytest.fixture
def language_model(tmp_path: Path) -> Model:
    weights(tmp_path / "language" / "model.safetensors")
    return Model("language", tmp_path / "language", pb.TEXT)


@pytest.fixture
def pipeline(tmp_path: Path) -> Model:
    """A pipeline of two parts, with another precision of one, and the whole as one file too."""
    folder = tmp_path / "pipeline"
    for name in ("unet/model", "unet/model.fp16", "vae/model", "whole"):
        weights(folder / f"{name}.safetensors")
    (folder / "model_index.json").write_text("{}")
    return Model("pipeline", folder, pb.IMAGE)


def test_processors_take_four_bytes_a_number_and_gpus_two(language_model: Model) -> None:
    assert text.expected_weights(language_model, LoadOptions(PROCESSOR)) == 4 * NUMBERS
    assert text.expected_weights(language_model, LoadOptions(GPU)) == 2 * NUMBERS


def test_processors_take_two_bytes_a_number_in_bfloat16(
    language_model: Model, pipeline: Model
) -> None:
    options = LoadOptions(PROCESSOR, precision="bfloat16")
    assert text.expected_weights(language_model, options) == 2 * NUMBERS
    assert image.expected_weights(pipeline, options) == 2 * 2 * NUMBERS
    sentences = Model("sentences", language_model.path, pb.EMBEDDING)
    assert embedding.expected_weights(sentences, options) == 2 * NUMBERS


@pytest.mark.parametrize(("backend", "rest"), [(PROCESSOR, 4), (GPU, 2)])
def test_quantisation_takes_matrices_only(
    language_model: Model, backend: Backend, rest: int
) -> None:
    eight = text.expected_weights(language_model, LoadOptions(backend, quantization="8bit"))
    four = text.expected_weights(language_model, LoadOptions(backend, quantization="4bit"))
    assert eight == pytest.approx(MATRIX + rest * OTHERS, rel=0.1)
    assert four == pytest.approx(MATRIX / 2 + rest * OTHERS, rel=0.1)


def test_sentence_embeddings_are_not_quantised(language_model: Model) -> None:
    model = Model("sentences", language_model.path, pb.EMBEDDING)
    assert embedding.expected_weights(model, LoadOptions(GPU, quantization="4bit")) == 2 * NUMBERS


def test_a_pipelines_parts_count_once_each(pipeline: Model) -> None:
    assert image.expected_weights(pipeline, LoadOptions(GPU)) == 2 * 2 * NUMBERS
    whole = Model("whole", pipeline.path / "whole.safetensors", pb.IMAGE)
    assert image.expected_weights(whole, LoadOptions(GPU)) == 2 * NUMBERS


def test_a_pipeline_is_whole_in_ram_before_it_is_quantised(pipeline: Model) -> None:
    assert (
        image.expected_weights(pipeline, LoadOptions(PROCESSOR, quantization="4bit"))
        == 4 * 2 * NUMBERS
    )
    assert image.expected_weights(pipeline, LoadOptions(GPU, quantization="4bit")) < 2 * NUMBERS


def test_work_needs_memory_too(language_model: Model) -> None:
    assert text.footprint(language_model, LoadOptions(GPU, quantization="4bit")) > 256 << 20


def test_what_fits_only_quantised_is_expected_to_be_so(language_model: Model) -> None:
    whole = text.expected_weights(language_model, LoadOptions(GPU, quantization="none"))
    for room, quantization in ((0, "none"), (2 * whole, "none"), (whole, "8bit"), (1, "4bit")):
        automatic = LoadOptions(GPU, quantization="auto", room=room)
        named = LoadOptions(GPU, quantization=quantization)
        expected = text.expected_weights(language_model, named)
        assert text.expected_weights(language_model, automatic) == expected
