"""Families of image models: each loads, and draws what diffusers draws; docs/models.md says so."""

import gc
import io
import json
import shutil
import weakref

import diffusers
import numpy
import pytest
import torch
from diffusers.pipelines.auto_pipeline import (
    AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    AUTO_INPAINT_PIPELINES_MAPPING,
    AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
)
from PIL import Image
from safetensors.torch import save_file

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.diffusers.abilities import abilities_of
from daiic.worker.engines.diffusers.calling import calling_of
from daiic.worker.engines.diffusers.load import load as load_image
from daiic.worker.engines.diffusers.probe import probe
from daiic.worker.engines.diffusers.source import Source
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.memory.budget import MemoryBudget
from support.models.image_families import FAMILIES, Family
from support.models.image_publishing import publish
from support.models.image_single_files import DENOISER, LAYOUTS, write_single_file
from support.models.models_document import ModelsTable

torch.set_num_threads(1)
diffusers.utils.logging.disable_progress_bar()

ASKED = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 2, "seed": 1}
TABLE = ModelsTable(
    "image models",
    ["Built after", "Draws at", "8 bit", "4 bit", "Single file", "Edits", "Checked against"],
    [family.name for family in FAMILIES],
)


async def load(path, quantization="none"):
    return await load_image(
        path,
        LoadOptions(choose("cpu"), quantization=quantization),
        MemoryBudget(vram_bytes=0, ram_bytes=2 << 30),
        lambda share: None,
    )


async def picture(engine, **changes):
    """What `engine` draws, as numbers [rows, columns, 3], and the steps that it told of."""
    task = pb.Task(image=pb.ImageTask(**(ASKED | changes)), stream=True)
    *parts, last = [part async for part in engine.run(task)]
    steps = [part.progress.done for part in parts if part.HasField("progress")]
    return pixels(last.images[0].png), steps


def pixels(file):
    """The image in `file`, as numbers [rows, columns, 3]."""
    return numpy.asarray(Image.open(io.BytesIO(file)).convert("RGB"), int)


def png(array):
    """An image of the task, from numbers."""
    file = io.BytesIO()
    Image.fromarray(array.astype("uint8")).save(file, "PNG")
    return pb.Media(data=file.getvalue(), type="image/png")


async def last_preview(engine):
    """How the image looks after the last step but one of four, and when it is done."""
    task = pb.Task(image=pb.ImageTask(**(ASKED | {"steps": 4, "previews": 3})), stream=True)
    *parts, last = [part async for part in engine.run(task)]
    shown = [preview for part in parts for preview in part.previews]
    assert [(preview.image, preview.number) for preview in shown] == [(0, 0), (0, 1), (0, 2)]
    return pixels(shown[-1].media.data), pixels(last.images[0].png)


def pipeline_class(folder):
    return json.loads((folder / "model_index.json").read_text())["_class_name"]


@pytest.fixture(scope="module", autouse=True)
def libraries_at_rest():
    """Keep what was imported out of the collections at each `close`, as the worker does."""
    gc.freeze()
    yield
    gc.unfreeze()


def single_file(folder):
    return folder.with_name(f"{folder.name}.safetensors")


def same(one, other):
    """Whether two pictures are equal but for rounding."""
    return one.shape == other.shape and abs(one - other).max() <= 2


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def published(request, tmp_path_factory):
    """A family, its folder, and what the pipeline itself draws, before it was ever saved.

    Beside the folder is NAME.safetensors, where the family has single files.
    """
    family: Family = request.param
    torch.manual_seed(0)
    pipeline = family.build()
    folder = publish(pipeline, tmp_path_factory.mktemp("models") / family.name)
    abilities = abilities_of(pipeline, family.name, calling_of(pipeline))
    assert abilities.width == abilities.height == family.side
    if type(pipeline).__name__ in LAYOUTS:
        write_single_file(pipeline, folder, single_file(folder))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        prompt=ASKED["prompt"],
        width=64,
        height=64,
        num_inference_steps=2,
        generator=torch.Generator("cpu").manual_seed(1),
        **family.usage,
    )
    return family, folder, numpy.asarray(drawn.images[0].convert("RGB"), int)


@pytest.fixture
def parts_alive(monkeypatch):
    """Weak references to every part that is loaded."""
    parts = []
    load_parts = Source.load

    def noted(self, dtype):
        pipeline = load_parts(self, dtype)
        modules = (p for p in pipeline.components.values() if isinstance(p, torch.nn.Module))
        parts.extend(weakref.ref(part) for part in modules)
        return pipeline

    monkeypatch.setattr(Source, "load", noted)
    return lambda: [part() for part in parts if part() is not None]


async def test_each_family_draws_what_its_pipeline_draws(published, parts_alive):
    family, folder, expected = published
    engine = await load(folder)
    assert (engine.model_kind, engine.quantization, engine.fallback) == (pb.IMAGE, "none", "")
    drawn, steps = await picture(engine)
    assert steps == [1, 2]
    assert same(drawn, expected)
    assert expected.std() > 10
    # What it was asked for has a say, too.
    assert not same((await picture(engine, seed=2))[0], drawn)
    assert not same((await picture(engine, prompt="a city at night, seen from a hill"))[0], drawn)
    preview, done = await last_preview(engine)
    assert preview.shape == done.shape
    assert abs(preview - done).mean() < 0.7 * done.std()
    assert parts_alive()
    await engine.close()
    assert not parts_alive()
    TABLE.observe(family.name, "Built after", f"`{family.example}`")
    TABLE.observe(family.name, "Draws at", f"{family.side} × {family.side}")
    TABLE.observe(family.name, "Checked against", f"`{pipeline_class(folder)}`")


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
async def test_each_family_draws_the_same_in_fewer_bits_every_time(published, parts_alive, bits):
    family, folder, unquantised = published
    weights = sum(file.stat().st_size for file in folder.glob("*/*.safetensors"))
    engine = await load(folder, bits)
    assert (engine.quantization, engine.fallback) == (bits, "")
    assert engine.footprint < 0.85 * weights
    drawn, _ = await picture(engine)
    assert abs(drawn - unquantised).mean() < 0.5 * unquantised.std()
    assert same((await picture(engine))[0], drawn)
    await engine.close()
    assert not parts_alive()
    TABLE.observe(family.name, f"{bits[0]} bit", "yes")


async def test_a_single_file_draws_what_its_folder_draws(published, parts_alive):
    family, folder, expected = published
    file = single_file(folder)
    if file.exists():
        engine = await load(file)
        assert same((await picture(engine))[0], expected)
        await engine.close()
        assert not parts_alive()
        TABLE.observe(family.name, "Single file", "yes")
        return
    # Published single files of these families hold the denoiser alone.
    configuration = file.with_suffix(".config")
    shutil.copytree(folder, configuration, ignore=shutil.ignore_patterns("*.safetensors*"))
    denoiser = DENOISER + "double_blocks.0.img_attn.qkv.weight"
    save_file({denoiser: torch.zeros(3, 1)}, file)
    with pytest.raises(TaskError) as refused:
        await load(file)
    assert refused.value.code == pb.BAD_REQUEST
    assert file.name in refused.value.message
    assert pipeline_class(folder) in refused.value.message
    assert "folder in diffusers' layout" in refused.value.remedy
    TABLE.observe(family.name, "Single file", "no")


async def test_a_family_begins_with_an_image_or_says_that_it_cannot(published, parts_alive):
    family, folder, _ = published
    model = probe(folder, family.name)
    engine = await load(folder)
    assert engine.capabilities == model.capabilities
    can_edit = pb.EDIT in engine.capabilities
    TABLE.observe(family.name, "Edits", "yes" if can_edit else "no")
    kind = getattr(diffusers, pipeline_class(folder))
    family_of = {made: name for name, made in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.items()}
    made_of_it = (AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, AUTO_INPAINT_PIPELINES_MAPPING)
    assert can_edit == all(family_of[kind] in kinds for kinds in made_of_it)
    if can_edit:
        halves = numpy.zeros((64, 64, 3))
        halves[:, :32], halves[:, 32:] = (200, 30, 30), (20, 20, 180)
        image, mask = png(halves), png((halves == 200).any(axis=2) * 255)
        assert same((await picture(engine, image=image, strength=0))[0], halves)
        drawn, steps = await picture(engine, image=image, steps=4, strength=0.5)
        assert steps == [1, 2]
        assert not same(drawn, (await picture(engine, image=image, steps=4, strength=1))[0])
        asked = {"image": image, "mask": mask}
        masked, _ = await picture(engine, **asked)
        assert (masked[:, 32:] == halves[:, 32:]).all()
        assert abs(masked[:, :32] - halves[:, :32]).mean() > 10
        assert (masked == (await picture(engine, **asked))[0]).all()
        assert not same(masked, (await picture(engine, **asked, prompt="a city at night"))[0])
        # What was drawn before is drawn again: nothing of an edit is left in what is shared.
        plain, _ = await picture(engine)
        assert same(plain, published[2])
    await engine.close()
    assert not parts_alive()


def test_the_document_says_what_was_observed():
    TABLE.check()
