"""Pipelines whose weights do not stay on the device that computes.

Tests have no GPU: the "device" is the CPU itself, so that the hooks which move
whole parts run for real. accelerate's hooks for single layers cannot do that.
"""

from pathlib import Path

import pytest
import torch
from PIL import Image

from daiic.worker.backend import choose as backend_of
from daiic.worker.engines.diffusers import placement
from daiic.worker.engines.diffusers.calling import calling_of
from daiic.worker.engines.diffusers.drawers import drawers_of
from daiic.worker.engines.diffusers.placement import (
    Placement,
    decode_in_tiles,
    place,
    sizes_of,
    working_bytes,
)
from daiic.worker.engines.diffusers.source import find_source
from daiic.worker.engines.interface import LoadOptions

torch.set_num_threads(1)

SHAPES = Path(__file__).parents[3] / "local-models" / "tiny-shapes.safetensors"
CPU = torch.device("cpu")


@pytest.fixture
def pipeline():
    loaded = find_source(SHAPES, LoadOptions(backend_of("cpu"))).load(torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def draw(pipeline, **parameters):
    generator = torch.Generator("cpu").manual_seed(7)
    return pipeline("a red circle", num_inference_steps=4, generator=generator, **parameters)


def test_weights_that_come_part_by_part_draw_the_same_image_every_time(pipeline):
    expected = draw(pipeline).images[0].tobytes()
    place(pipeline, Placement.BY_PART, CPU)
    assert draw(pipeline).images[0].tobytes() == expected
    assert draw(pipeline).images[0].tobytes() == expected


def test_an_edit_finds_the_weights_wherever_they_are_and_leaves_them_there(pipeline):
    drawers = drawers_of(pipeline, calling_of(pipeline))
    image = Image.new("RGB", (64, 64), "red")

    def edit():
        generator = torch.Generator("cpu").manual_seed(7)
        asked = {"num_inference_steps": 4, "strength": 0.5, "generator": generator}
        edited = drawers.from_image.pipeline("a blue circle", image, **asked)
        drawers.from_text.pipeline.maybe_free_model_hooks()
        return edited.images[0].tobytes()

    plain, edited = draw(pipeline).images[0].tobytes(), edit()
    place(pipeline, Placement.BY_PART, CPU)
    assert [edit(), draw(pipeline).images[0].tobytes(), edit()] == [edited, plain, edited]
    parts = {id(part) for part in pipeline.components.values() if isinstance(part, torch.nn.Module)}
    for drawer in (drawers.from_image, drawers.in_mask):
        its = drawer.pipeline.components.values()
        assert {id(part) for part in its if isinstance(part, torch.nn.Module)} <= parts


def test_sizes_count_every_weight_once(pipeline):
    sizes = sizes_of(pipeline)
    assert set(sizes) == {"unet", "vae", "text_encoder"}
    # The file has half of these bytes for each, in float16, and a header.
    assert sum(sizes.values()) == pytest.approx(2 * SHAPES.stat().st_size, rel=0.02)


def test_work_grows_with_the_image(pipeline):
    small, large = working_bytes(pipeline, 64, 64), working_bytes(pipeline, 128, 128)
    assert 0 < small == large // 4


def test_an_autoencoder_of_large_images_decodes_them_in_tiles_too(pipeline, monkeypatch):
    monkeypatch.setattr(placement, "TILE", 64)  # as it is, decoding takes long
    side = 128
    vae = pipeline.vae
    vae.register_to_config(sample_size=side)
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // scale
    decoded = []
    vae.decoder.register_forward_hook(lambda _, inputs, output: decoded.append(output.shape[-2:]))
    decode_in_tiles(pipeline)
    latents = torch.zeros(1, vae.config.latent_channels, side // scale, side // scale)
    with torch.inference_mode():
        assert vae.decode(latents).sample.shape[-2:] == (side, side)
    assert max(max(shape) for shape in decoded) == 64
