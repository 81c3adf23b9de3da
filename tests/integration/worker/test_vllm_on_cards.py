"""What vLLM is started with on cards, of one machine and of several with Ray; none are needed."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card
from daiic.worker.cards.listed import Listed
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.vllm import placement
from daiic.worker.engines.vllm.load import footprint, load
from daiic.worker.engines.vllm.program import Ray
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from support.models import tiny_gguf
from support.vllm.running import use

GIB = 1 << 30


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use("made up", tmp_path, monkeypatch)
    return Path(shutil.copytree(tiny_gguf.TINY_CHAT, tmp_path / "chat"))


def backend(count: int, kind: pb.Backend = pb.CUDA) -> Backend:
    cards = tuple(Card(index, "A GPU", f"0000:0{index}:00.0") for index in range(count))
    return Backend(kind, torch.device("cuda", 0), "GPUs", cards)


def budget(*cards: int) -> MemoryBudget:
    return MemoryBudget(sum(cards), 8 * GIB, cards=cards)


async def started(path: Path, options: LoadOptions, room: MemoryBudget) -> tuple[Any, Any]:
    """Load the model at `path`; return the engine, closed, and what its vLLM was told."""
    engine = await load(path, options, room, lambda done: None)
    held = {card.index: options.children.on(card.index) for card in options.backend.cards}
    assert engine.footprint >= sum(held.values()) > 0
    await engine.close()
    assert not options.children.total
    told = json.loads(path.with_suffix(".started").read_text())
    arguments = told["arguments"][2:]
    return engine, told | {
        "held": held,
        "options": dict(pairwise(arguments)),
    }


async def test_a_model_lies_on_as_many_cards_as_share_its_heads(model: Path) -> None:
    options = LoadOptions(backend(5), slots=4)
    engine, told = await started(model, options, budget(*[4 * GIB] * 4, 5 * GIB))
    # Six heads: three of the five cards.
    assert told["options"]["--tensor-parallel-size"] == "3"
    assert told["environment"]["CUDA_VISIBLE_DEVICES"] == "4,0,1"
    assert {index for index, held in told["held"].items() if held} == {0, 1, 4}
    assert engine.placement == "gpu" and "3 GPUs" in engine.choice
    assert "--enforce-eager" not in told["arguments"]
    assert "ray" not in told["arguments"]


async def test_cards_are_named_by_their_drivers_numbers(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [Listed(7, "GPU-1", "0000:00:00.0"), Listed(3, "GPU-2", "0000:01:00.0")]
    monkeypatch.setattr(placement, "_LISTED", {pb.CUDA: lambda: listed, pb.ROCM: lambda: listed})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    for kind, variable in ((pb.CUDA, "CUDA_VISIBLE_DEVICES"), (pb.ROCM, "HIP_VISIBLE_DEVICES")):
        options = LoadOptions(backend(2, kind).on_card(1), slots=4)
        _, told = await started(model, options, budget(4 * GIB))
        assert told["environment"][variable] == "3"
        assert told["environment"]["CUDA_VISIBLE_DEVICES"] == "3"


async def test_the_cache_takes_no_more_than_there_is(model: Path) -> None:
    _, told = await started(
        model, LoadOptions(backend(1), slots=32), budget(GIB * 9 // 4 + (64 << 20))
    )
    cache = int(told["options"]["--kv-cache-memory-bytes"])
    assert 0 < cache < 128 << 20
    with pytest.raises(TaskError, match="MiB with vLLM") as caught:
        await load(model, LoadOptions(backend(1)), budget(2 * GIB), lambda done: None)
    assert caught.value.code == pb.OUT_OF_MEMORY


async def test_only_what_one_machine_cannot_hold_goes_to_ray(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "wg0")
    ray = Ray("10.44.0.1:6379", 3)
    options = LoadOptions(backend(2), slots=4, ray=ray, room=64 * GIB)
    _, told = await started(model, options, budget(4 * GIB, 4 * GIB))
    assert "RAY_ADDRESS" not in told["environment"] and "ray" not in told["arguments"]
    small = replace(options, room=GIB)
    engine, told = await started(model, small, budget(4 * GIB, 4 * GIB))
    assert told["options"]["--distributed-executor-backend"] == "ray"
    assert told["options"]["--pipeline-parallel-size"] == "3"
    assert told["options"]["--tensor-parallel-size"] == "2"
    assert told["environment"]["RAY_ADDRESS"] == "10.44.0.1:6379"
    assert told["environment"]["NCCL_SOCKET_IFNAME"] == "wg0"
    assert "3 machines" in engine.choice
    whole = Model("chat", model, pb.TEXT, model)
    assert footprint(whole, small) < footprint(whole, options)


async def test_other_machines_need_a_folder_to_read_the_model_from(
    model: Path, tmp_path: Path
) -> None:
    view, blobs = tmp_path / "view", tmp_path / "blobs"
    blobs.mkdir()
    view.mkdir()
    for file in model.iterdir():
        place = blobs if file.suffix == ".safetensors" else view
        shutil.copy(file, place / file.name)
        if place is blobs:
            (view / file.name).symlink_to(place / file.name)
    options = LoadOptions(backend(1), slots=4, ray=Ray("10.44.0.1:6379", 2), room=1)
    with pytest.raises(TaskError, match="the same path") as caught:
        await load(view, options, budget(4 * GIB), lambda done: None)
    assert caught.value.code == pb.UNSUPPORTED
