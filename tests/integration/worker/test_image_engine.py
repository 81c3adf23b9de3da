"""The image engine with real torch, on the small model that this repository ships."""

import asyncio
import io
import json
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.diffusers.load import load as load_image
from daiic.worker.engines.diffusers.source import find_source
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import configuration_bounds
from daiic.worker.memory.budget import MemoryBudget

torch.set_num_threads(1)

MODELS = Path(__file__).parents[3] / "local-models"
SHAPES = MODELS / "tiny-shapes.safetensors"
PLENTY = MemoryBudget(vram_bytes=0, ram_bytes=8 << 30)


async def load(path, *, budget=PLENTY, progress=lambda share: None, **changes):
    options = LoadOptions(choose("cpu"), **changes)
    return await load_image(path, options, budget, progress)


@pytest.fixture(scope="module")
def engines():
    """Engines that tests share, by how they were loaded; engines may outlive an event loop."""
    loaded = {}

    async def get(path=SHAPES, **changes):
        key = (path, *sorted(changes.items()))
        if key not in loaded:
            loaded[key] = await load(path, **changes)
        return loaded[key]

    yield get
    for engine in loaded.values():
        asyncio.run(engine.close())


@pytest.fixture
def folder(tmp_path):
    """The small model as a folder in diffusers' layout, written by diffusers itself."""
    pipeline = StableDiffusionPipeline.from_single_file(
        str(SHAPES), config=str(SHAPES.with_suffix(".config")), local_files_only=True
    )
    pipeline.save_pretrained(tmp_path / "shapes")
    return tmp_path / "shapes"


async def draw(engine, prompt, *, stream=False, **parameters):
    task = pb.Task(image=pb.ImageTask(prompt=prompt, **({"steps": 10} | parameters)), stream=stream)
    return [result async for result in engine.run(task)]


async def picture(engine, prompt, **parameters):
    (result,) = await draw(engine, prompt, **parameters)
    return Image.open(io.BytesIO(result.images[0].png)).convert("RGB")


def middle(image):
    """The middle's colour, averaged over the 8 x 8 pixels that every shape but a ring covers."""
    left, top = image.width // 2 - 4, image.height // 2 - 4
    patch = image.crop((left, top, left + 8, top + 8))
    return patch.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))


def blue_widths(image):
    """How many pixels of each row are blue, for the rows that have some, from the top down."""
    rows = []
    for y in range(image.height):
        row = [image.getpixel((x, y)) for x in range(image.width)]
        rows.append(sum(blue > max(red, green) + 100 for red, green, blue in row))
    return [width for width in rows if width > 2]


async def test_one_file_is_loaded_without_a_network_and_draws(engines, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = await engines()
    (result,) = await draw(engine, "a red circle", seed=1)
    assert result.final
    assert result.images[0].seed == 1
    assert Image.open(io.BytesIO(result.images[0].png)).size == (64, 64)
    assert (engine.model_kind, engine.placement, engine.quantization) == (pb.IMAGE, "ram", "none")
    # Its weights in float32, as they are computed with on a CPU.
    assert engine.footprint == pytest.approx(SHAPES.stat().st_size * 2, rel=0.02)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_prompt_decides_the_colour(engines, seed):
    engine = await engines()
    red, green, blue = middle(await picture(engine, "a red circle", seed=seed))
    assert red > green + 60 and red > blue + 60
    red, green, blue = middle(await picture(engine, "a blue square", seed=seed))
    assert blue > red + 60 and blue > green + 60


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_prompt_decides_the_shape(engines, seed):
    engine = await engines()
    asked = {"seed": seed, "guidance": 3.0}
    square = blue_widths(await picture(engine, "a large blue square", **asked))
    triangle = blue_widths(await picture(engine, "a large blue triangle", **asked))
    assert min(len(square), len(triangle)) > 20
    quarter = len(square) // 4
    assert statistics.fmean(square[:quarter]) > 0.8 * statistics.fmean(square[-quarter:])
    quarter = len(triangle) // 4
    assert statistics.fmean(triangle[:quarter]) < 0.5 * statistics.fmean(triangle[-quarter:])


async def test_a_seed_alone_decides_an_image_whatever_its_place_among_others(engines):
    engine = await engines()
    (several,) = await draw(engine, "a green star", seed=40, n=3)
    (single,) = await draw(engine, "a green star", seed=42)
    assert [image.seed for image in several.images] == [40, 41, 42]
    assert several.images[2].png == single.images[0].png
    assert several.images[0].png != several.images[1].png


async def test_steps_are_told_while_a_streaming_task_runs(engines):
    *parts, last = await draw(await engines(), "a red ring", seed=1, n=2, steps=4, stream=True)
    assert last.final and len(last.images) == 2 and not last.HasField("progress")
    assert [(p.progress.phase, p.progress.done, p.progress.total) for p in parts] == [
        ("steps", done, 8) for done in range(1, 9)
    ]


async def test_a_task_that_is_given_up_ends_at_its_next_step(engines):
    engine = await engines()
    task = pb.Task(image=pb.ImageTask(prompt="a red ring", steps=200, n=10), stream=True)
    running = engine.run(task)
    await anext(running)
    await running.aclose()
    # 2000 steps would take far longer than what is waited for.
    async with asyncio.timeout(30):
        await draw(engine, "a red circle", steps=1)


async def test_tasks_at_the_same_time_are_all_answered(engines):
    engine = await engines()
    answers = await asyncio.gather(
        *(draw(engine, "a red circle", seed=seed, steps=2) for seed in range(4))
    )
    assert [answer[-1].images[0].seed for answer in answers] == [0, 1, 2, 3]


async def test_other_sizes_are_drawn_and_odd_ones_refused(engines):
    engine = await engines()
    assert (await picture(engine, "a red circle", width=96, height=64, steps=2)).size == (96, 64)
    with pytest.raises(TaskError) as refused:
        await draw(engine, "a red circle", width=70)
    assert refused.value.code == pb.BAD_REQUEST
    assert "width is 70" in refused.value.message
    assert "multiple of 8" in refused.value.remedy


async def test_a_negative_prompt_and_guidance_change_the_image(engines):
    engine = await engines()
    plain = await draw(engine, "a circle", seed=5)
    without = await draw(engine, "a circle", seed=5, negative_prompt="red")
    unguided = await draw(engine, "a circle", seed=5, guidance=1.0)
    assert len({answer[0].images[0].png for answer in (plain, without, unguided)}) == 3


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
async def test_quantised_it_is_smaller_and_still_draws_what_is_asked(engines, quantization):
    engine = await engines(quantization=quantization)
    assert engine.quantization == quantization
    assert engine.fallback == ""
    assert engine.footprint < (await engines()).footprint
    red, green, blue = middle(await picture(engine, "a red circle", seed=1))
    assert red > green + 60 and red > blue + 60


async def test_a_folder_in_diffusers_layout_draws_the_same_image_as_the_file(engines, folder):
    from_folder = await load(folder)
    try:
        assert await draw(from_folder, "a pink diamond", seed=3) == await draw(
            await engines(), "a pink diamond", seed=3
        )
    finally:
        await from_folder.close()


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
async def test_a_folder_with_only_a_variant_is_loaded(folder, variant):
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_suffix(f".{variant}.safetensors"))
    await (await load(folder)).close()


def test_weights_that_are_not_loaded_are_not_counted(folder):
    source = find_source(folder, LoadOptions(choose("cpu")))
    alone = source.parameters()
    for file in list(folder.glob("*/*.safetensors")):
        shutil.copy(file, file.with_suffix(".fp16.safetensors"))
        shutil.copy(file, file.with_suffix(".non_ema.safetensors"))
    assert source.parameters() == alone


async def test_a_model_too_large_in_full_precision_is_loaded_in_half_on_a_cpu():
    whole = 2 * SHAPES.stat().st_size
    engine = await load(SHAPES, budget=MemoryBudget(vram_bytes=0, ram_bytes=int(0.9 * whole)))
    assert engine.footprint == pytest.approx(whole / 2, rel=0.02)
    red, green, blue = middle(await picture(engine, "a red circle", seed=1))
    assert red > green + 60 and red > blue + 60
    await engine.close()


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("single", [True, False], ids=["file", "folder"])
def test_weights_are_loaded_in_the_precision_asked_for_by_no_outdated_name(folder, single):
    source = find_source(SHAPES if single else folder, LoadOptions(choose("cpu")))
    pipeline = source.load(torch.float16)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {part.dtype for part in parts} == {torch.float16}


async def test_pickled_weights_in_a_folder_are_refused(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(TaskError) as refused:
        await load(folder)
    assert refused.value.code == pb.UNSAFE_WEIGHTS
    assert "unet/diffusion_pytorch_model.bin" in refused.value.message


async def test_pickled_weights_in_a_configuration_folder_are_not_read(tmp_path):
    file = Path(shutil.copy(SHAPES, tmp_path))
    configuration = tmp_path / "tiny-shapes.config"
    shutil.copytree(SHAPES.with_suffix(".config"), configuration)
    for part in ("unet", "vae", "text_encoder"):
        (configuration / part / "diffusion_pytorch_model.bin").write_bytes(b"no pickle of ours")
    await (await load(file)).close()


async def test_a_checkpoint_without_configuration_says_what_it_needs_offline(tmp_path):
    file = Path(shutil.copy(SHAPES, tmp_path))
    with pytest.raises(TaskError) as refused:
        await load(file, cache_dir=tmp_path / "cache")
    assert refused.value.code == pb.MODEL_NOT_FOUND
    assert "allow_downloads = true" in refused.value.remedy
    assert "tiny-shapes.config" in refused.value.remedy


async def test_a_damaged_file_is_refused(tmp_path):
    file = tmp_path / "half.safetensors"
    file.write_bytes(SHAPES.read_bytes()[:5000])
    with pytest.raises(TaskError) as refused:
        await load(file)
    assert refused.value.code == pb.BAD_REQUEST
    assert "half.safetensors" in refused.value.message


async def test_a_language_models_weights_are_no_image_model(tmp_path):
    file = tmp_path / "chat.safetensors"
    shutil.copy(MODELS / "daiic-tiny-chat" / "model.safetensors", file)
    with pytest.raises(TaskError) as refused:
        await load(file)
    assert refused.value.code == pb.BAD_REQUEST


async def test_a_pipeline_with_code_of_its_own_is_refused(folder):
    index = folder / "model_index.json"
    parts = json.loads(index.read_bytes())
    parts["unet"] = ["mine", "UNet2DConditionModel"]
    index.write_text(json.dumps(parts))
    (folder / "unet" / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(TaskError) as refused:
        await load(folder)
    assert refused.value.code == pb.BAD_REQUEST
    assert "its own code" in refused.value.message


@pytest.mark.parametrize("part", [["os", "system"], ["http.server", "x"], [5, "x"], [["a"], "x"]])
async def test_a_pipeline_names_libraries_of_ours_only(folder, part):
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_bytes()) | {"unet": part}))
    with pytest.raises(TaskError, match="with its own code"):
        await load(folder)


@pytest.mark.parametrize(
    "content", ["[", "[]", "5", '{"_class_name": {}}', '{"_class_name": "UNet2DConditionModel"}']
)
async def test_an_index_of_any_content_is_a_clear_error(folder, content):
    (folder / "model_index.json").write_text(content)
    with pytest.raises(TaskError) as refused:
        await load(folder)
    assert refused.value.code == pb.BAD_REQUEST and refused.value.remedy


async def test_a_pipeline_that_needs_an_image_is_refused(folder):
    index = folder / "model_index.json"
    name = "StableDiffusionImg2ImgPipeline"
    index.write_text(json.dumps(json.loads(index.read_bytes()) | {"_class_name": name}))
    with pytest.raises(TaskError) as refused:
        await load(folder)
    assert refused.value.code == pb.BAD_REQUEST
    assert name in refused.value.message


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ("scheduler/scheduler_config.json", {"solver_order": 10**9}, "solver_order"),
        ("unet/config.json", {"sample_size": 10**6}, "sample_size"),
        ("unet/config.json", {"sample_size": [64, 10**6]}, "sample_size"),
        ("unet/config.json", {"layers_per_block": 1000}, "more than 2000 parts"),
        ("vae/config.json", {"layers_per_block": 1000}, "more than 2000 parts"),
        ("text_encoder/config.json", {"num_hidden_layers": 1000}, "more than 2000 parts"),
        ("unet/config.json", {"cross_attention_dim": 10**6}, "more weights"),
        ("vae/config.json", {"block_out_channels": [4096, 4096]}, "more weights"),
        ("text_encoder/config.json", {"vocab_size": 10**7}, "more weights"),
    ],
)
async def test_a_pipeline_that_asks_for_more_than_its_weights_is_refused(
    folder, monkeypatch, file, change, said
):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    monkeypatch.setattr(configuration_bounds, "MAX_MODULES", 2_000)
    monkeypatch.setattr(configuration_bounds, "SPARE", 1 << (40 if "parts" in said else 20))
    with pytest.raises(TaskError, match=said) as refused:
        await load(folder)
    assert refused.value.code == pb.BAD_REQUEST
    assert refused.value.message.startswith("shapes")


async def test_a_kind_that_diffusers_does_not_know_is_named(folder):
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_bytes()) | {"_class_name": "NextPipeline"}))
    with pytest.raises(TaskError) as refused:
        await load(folder)
    assert refused.value.code == pb.BAD_REQUEST
    assert "NextPipeline" in refused.value.message
    assert "does not know this kind" in refused.value.message


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ("cond_stage_model.", "CLIPTextModel"),
        ("first_stage_model.decoder.conv_in", "it lacks weights"),
    ],
)
async def test_a_single_file_that_is_not_whole_is_refused_with_what_it_lacks(
    tmp_path, lacking, named
):
    weights = {n: t for n, t in load_file(SHAPES).items() if not n.startswith(lacking)}
    save_file(weights, tmp_path / "half.safetensors")
    shutil.copytree(SHAPES.with_suffix(".config"), tmp_path / "half.config")
    with pytest.raises(TaskError) as refused:
        await load(tmp_path / "half.safetensors")
    assert refused.value.code == pb.BAD_REQUEST
    assert "half.safetensors" in refused.value.message
    assert named in refused.value.message


async def test_too_little_memory_is_said_before_anything_is_loaded():
    with pytest.raises(TaskError) as refused:
        await load(SHAPES, budget=MemoryBudget(vram_bytes=0, ram_bytes=1 << 20))
    assert refused.value.code == pb.OUT_OF_MEMORY


async def test_closing_cancels_what_runs_and_refuses_what_comes():
    shares = []
    engine = await load(SHAPES, progress=shares.append)
    assert shares[0] == 0.0 and shares[-1] == 1.0 and shares == sorted(shares)
    task = pb.Task(image=pb.ImageTask(prompt="a red ring", steps=200), stream=True)
    running = engine.run(task)
    await anext(running)
    await engine.close()
    with pytest.raises(TaskError) as cancelled:
        async for _ in running:
            pass
    assert cancelled.value.code == pb.CANCELLED
    with pytest.raises(TaskError):
        await draw(engine, "a red circle")
