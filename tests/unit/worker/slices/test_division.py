"""Which models are computed in slices, in how many, and what a slice needs."""

import json
from pathlib import Path

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.slices.division import RANK, Divisions, division
from support.models.tiny_models import language_model

CPU = Backend(pb.CPU, torch.device("cpu"), "a processor")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_model(tmp_path_factory.mktemp("models") / "tiny")


def changed(model: Path, to: Path, **config: object) -> Path:
    """Return a copy of `model` in `to` whose config.json says something else."""
    to.mkdir()
    for file in model.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    said = json.loads((model / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(said | config))
    return to


def test_slices_have_their_share_and_what_is_whole_everywhere(model: Path) -> None:
    parts = division(model, CPU, "none", "float32")
    assert parts is not None
    weights = (model / "model.safetensors").stat().st_size
    assert 0.95 * weights < parts.divided + parts.each < weights
    assert 0 < parts.each < parts.divided
    assert parts.most == 2  # of its four heads, two share their keys and values
    assert parts.of_one(2) == RANK + parts.each * 5 // 4 + parts.divided * 5 // 8
    assert parts.alone > weights


def test_precision_and_quantization_count(model: Path) -> None:
    full, half, least = (
        division(model, CPU, quantization, precision)
        for quantization, precision in (("none", "float32"), ("none", "auto"), ("auto", "auto"))
    )
    assert full is not None and half is not None and least is not None
    assert full.divided == 2 * half.divided == 2 * least.divided
    assert full.alone > half.alone >= least.alone


@pytest.mark.parametrize(
    "config",
    [
        {"num_key_value_heads": 1},
        {"num_attention_heads": 3},
        {"num_attention_heads": "4"},
        {"model_type": "mixtral"},
        {"model_type": "nothing-known"},
        {"model_type": ["llama"]},
        {"quantization_config": {"quant_method": "awq"}},
    ],
)
def test_what_cannot_be_divided_is_not(
    model: Path, tmp_path: Path, config: dict[str, object]
) -> None:
    assert division(changed(model, tmp_path / "m", **config), CPU, "none", "float32") is None


def test_changed_files_are_looked_at_again(model: Path, tmp_path: Path) -> None:
    known = Divisions()
    path = changed(model, tmp_path / "m")
    assert known.of(path, CPU, "none", "float32") == division(path, CPU, "none", "float32")
    (path / "model.safetensors").write_bytes(b"damaged")
    assert known.of(path, CPU, "none", "float32") is None
