"""Adapters beside an image model: they change what it draws, by name, scale and seed alone."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.diffusers.load import load as load_image
from daiic.worker.engines.diffusers.source import find_source
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.model_view import checked_view
from support.models.image_adapters import write_lora

torch.set_num_threads(1)

SHAPES = Path(__file__).parents[3] / "local-models" / "tiny-shapes.safetensors"
PLENTY = MemoryBudget(vram_bytes=0, ram_bytes=8 << 30)
OPTIONS = LoadOptions(choose("cpu"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder: shapes.safetensors, and beside it adapters, of which three are of no use."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(SHAPES, folder / "shapes.safetensors")
    shutil.copytree(SHAPES.with_suffix(".config"), folder / "shapes.config")
    pipeline = find_source(SHAPES, OPTIONS).load(torch.float32)
    adapters = folder / "shapes.adapters"
    write_lora(pipeline, adapters / "wild.v2.safetensors", seed=1)
    write_lora(pipeline, adapters / "mild.safetensors", seed=2)
    (adapters / "damaged.safetensors").write_bytes(b"\x10" + b"\0" * 7 + b"{}")
    (adapters / "pickled.bin").write_bytes(b"\x80\x04.")
    save_file({"unet.x.lora_A.weight": torch.ones(2, 2)}, adapters / "foreign.safetensors")
    save_file({"unet.conv_in.weight": torch.ones(2, 2)}, adapters / "whole.safetensors")
    return folder


@pytest.fixture(scope="module")
def model(models):
    return Catalog(models, models / "cache").find("shapes.safetensors")


@pytest.fixture
async def engine(model):
    with checked_view(model) as path:
        loaded = await load_image(path, OPTIONS, PLENTY, lambda share: None)
    yield loaded
    await loaded.close()


async def drawn(engine, *adapters, **changes):
    asked = {"prompt": "a red circle", "steps": 4, "seed": 3} | changes
    named = [pb.Adapter(name=name, scale=scale) for name, scale in adapters]
    task = pb.Task(image=pb.ImageTask(**asked), adapters=named)
    *_, last = [part async for part in engine.run(task)]
    return last.images[0].png


async def test_each_changes_what_is_drawn_by_its_scale_and_leaves_nothing_behind(engine, model):
    assert pb.ADAPTERS in model.capabilities and pb.ADAPTERS in engine.capabilities
    assert {"mild", "wild.v2"} <= set(model.adapters)
    assert engine.adapters == ("mild", "wild.v2")
    plain = await drawn(engine)
    wild = await drawn(engine, ("wild.v2", 1.0))
    mild = await drawn(engine, ("mild", 1.0))
    both = await drawn(engine, ("wild.v2", 1.0), ("mild", 0.5))
    weaker = await drawn(engine, ("wild.v2", 0.4))
    assert len({plain, wild, mild, both, weaker}) == 5
    assert await drawn(engine, ("wild.v2", 1.0)) == wild
    assert await drawn(engine, ("wild.v2", 0.7), ("wild.v2", 0.3)) == wild
    assert await drawn(engine, ("wild.v2", 0.0)) == plain
    assert await drawn(engine) == plain


async def test_they_change_edits_too(engine):
    image = pb.Media(data=await drawn(engine))
    plain = await drawn(engine, image=image, strength=0.5)
    assert await drawn(engine, ("wild.v2", 1.0), image=image, strength=0.5) != plain
    assert await drawn(engine, image=image, strength=0.5) == plain


async def test_without_one_a_model_draws_as_if_it_had_none(engine):
    alone = await load_image(SHAPES, OPTIONS, PLENTY, lambda share: None)
    assert pb.ADAPTERS not in alone.capabilities and alone.adapters == ()
    assert await drawn(alone) == await drawn(engine)
    assert alone.footprint < engine.footprint
    await alone.close()


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
async def test_they_change_quantised_models(models, bits):
    options = LoadOptions(choose("cpu"), quantization=bits)
    engine = await load_image(models / "shapes.safetensors", options, PLENTY, lambda share: None)
    assert (engine.quantization, engine.adapters) == (bits, ("mild", "wild.v2"))
    plain, wild = await drawn(engine), await drawn(engine, ("wild.v2", 1.0))
    assert plain != wild and await drawn(engine) == plain
    await engine.close()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("other", pb.MODEL_NOT_FOUND, "has no adapter other"),
        ("pickled", pb.MODEL_NOT_FOUND, "has no adapter pickled"),
        ("damaged", pb.MODEL_NOT_FOUND, "has no adapter damaged"),
        ("foreign", pb.BAD_REQUEST, "foreign cannot be used"),
        ("whole", pb.BAD_REQUEST, "whole cannot be used"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_name(engine, name, code, said):
    with pytest.raises(TaskError, match=said) as refused:
        await drawn(engine, (name, 1.0))
    assert refused.value.code == code and refused.value.remedy


async def test_a_scale_is_a_number(engine):
    with pytest.raises(TaskError, match="the scale nan"):
        await drawn(engine, ("mild", math.nan))
