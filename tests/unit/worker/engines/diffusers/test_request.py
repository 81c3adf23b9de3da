"""What an image task may ask for, and what it gets when it does not ask."""

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.preview import shown_after
from daiic.worker.engines.diffusers.request import (
    MAX_IMAGES,
    MAX_PROMPT,
    MAX_SIDE,
    MAX_STEPS,
    SEEDS,
    Abilities,
    read_request,
)

STABLE_DIFFUSION = Abilities(
    width=512, height=512, multiple=8, steps=30, guidance=7.5, negative_prompt=True
)
DISTILLED = Abilities(
    width=1024, height=1024, multiple=16, steps=4, guidance=None, negative_prompt=False
)


def test_a_bare_prompt_gets_the_models_own_defaults():
    request = read_request(pb.ImageTask(prompt="a red circle"), STABLE_DIFFUSION)
    assert (request.width, request.height, request.steps) == (512, 512, 30)
    assert request.guidance == 7.5
    assert len(request.seeds) == 1


def test_seeds_of_several_images_follow_each_other_and_wrap():
    task = pb.ImageTask(prompt="x", seed=SEEDS - 1, n=3)
    assert read_request(task, STABLE_DIFFUSION).seeds == (SEEDS - 1, 0, 1)


def test_seed_zero_is_a_seed_and_no_seed_is_random():
    assert read_request(pb.ImageTask(prompt="x", seed=0), STABLE_DIFFUSION).seeds == (0,)
    drawn = {read_request(pb.ImageTask(prompt="x"), STABLE_DIFFUSION).seeds for _ in range(20)}
    assert len(drawn) == 20


def test_guidance_zero_is_not_the_default():
    assert read_request(pb.ImageTask(prompt="x", guidance=0), STABLE_DIFFUSION).guidance == 0


@pytest.mark.parametrize(
    ("task", "abilities", "key", "value"),
    [
        (pb.ImageTask(prompt=" \n"), STABLE_DIFFUSION, "prompt", r"' \n'"),
        (pb.ImageTask(prompt="x" * (MAX_PROMPT + 1)), STABLE_DIFFUSION, "prompt", "8193"),
        (pb.ImageTask(prompt="x", width=500), STABLE_DIFFUSION, "width", "500"),
        (pb.ImageTask(prompt="x", height=8), STABLE_DIFFUSION, "height", "8"),
        (pb.ImageTask(prompt="x", height=MAX_SIDE + 8), STABLE_DIFFUSION, "height", "2056"),
        (pb.ImageTask(prompt="x", width=520), DISTILLED, "width", "520"),
        (pb.ImageTask(prompt="x", steps=MAX_STEPS + 1), STABLE_DIFFUSION, "steps", "201"),
        (pb.ImageTask(prompt="x", n=MAX_IMAGES + 1), STABLE_DIFFUSION, "n", "11"),
        (pb.ImageTask(prompt="x", guidance=-1), STABLE_DIFFUSION, "guidance", "-1"),
        (pb.ImageTask(prompt="x", guidance=math.nan), STABLE_DIFFUSION, "guidance", "nan"),
        (pb.ImageTask(prompt="x", guidance=5), DISTILLED, "guidance", "not known"),
        (pb.ImageTask(prompt="x", negative_prompt="y"), DISTILLED, "negative_prompt", "not known"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_key_and_value(task, abilities, key, value):
    with pytest.raises(TaskError) as refused:
        read_request(task, abilities)
    assert refused.value.code == pb.BAD_REQUEST
    assert refused.value.message.startswith(f"{key} is ")
    assert value in refused.value.message
    assert refused.value.remedy


def media(image: Image.Image) -> pb.Media:
    file = io.BytesIO()
    image.save(file, "PNG")
    return pb.Media(data=file.getvalue(), type="image/png")


RED = Image.new("RGB", (100, 50), "red")
HALF = Image.new("L", (100, 50))
HALF.paste(255, (0, 0, 50, 50))


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (728, 360)),
        ({"width": 64}, (64, 32)),
        ({"height": 64}, (128, 64)),
        ({"width": 64, "height": 64}, (64, 64)),
    ],
)
def test_an_image_decides_the_proportions_where_the_task_does_not(asked, size):
    request = read_request(pb.ImageTask(image=media(RED), **asked), STABLE_DIFFUSION)
    assert (request.width, request.height) == size
    assert request.canvas.image.size == size and request.canvas.mask is None


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (1, 1), (4096, 4096)])
def test_images_of_any_size_are_drawn_within_bounds(size):
    request = read_request(pb.ImageTask(image=media(Image.new("RGB", size))), DISTILLED)
    for side in (request.width, request.height):
        assert 16 <= side <= MAX_SIDE and side % 16 == 0


@pytest.mark.parametrize("steps", range(1, MAX_STEPS + 1))
def test_every_strength_is_a_whole_number_of_steps_however_pipelines_count_them(steps):
    for strength in (0.001, 0.1, 0.3, 1 / 3, 0.5, 0.7, 0.8, 0.999, 1.0):
        task = pb.ImageTask(image=media(Image.new("RGB", (16, 16))), steps=steps, strength=strength)
        request = read_request(task, STABLE_DIFFUSION)
        counted = {int(steps * request.strength), steps - int(steps - steps * request.strength)}
        assert counted == {request.steps_drawn}
        assert 1 <= request.steps_drawn <= steps


def test_without_a_strength_a_mask_is_painted_anew_and_an_image_only_changed():
    asked = {"image": media(RED), "steps": 10}
    assert read_request(pb.ImageTask(**asked), STABLE_DIFFUSION).strength == 0.8
    asked["mask"] = media(HALF)
    assert read_request(pb.ImageTask(**asked), STABLE_DIFFUSION).strength == 1.0


def test_a_mask_is_white_or_transparent_where_the_image_may_be_changed():
    transparent = RED.convert("RGBA")
    transparent.putalpha(HALF.point(lambda value: 255 - value))
    for mask in (HALF, HALF.convert("RGBA"), transparent):
        task = pb.ImageTask(image=media(RED), mask=media(mask), width=104, height=48)
        canvas = read_request(task, STABLE_DIFFUSION).canvas
        assert canvas.mask.mode == "L" and canvas.mask.size == canvas.image.size == (104, 48)
        assert [canvas.mask.getpixel((x, 20)) for x in (0, 48, 55, 103)] == [255, 255, 0, 0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": "x", "mask": media(HALF)}, "a mask without an image"),
        ({"image": media(RED), "mask": media(HALF.crop((0, 0, 99, 50)))}, "99 × 50"),
        ({"image": media(RED), "mask": media(Image.new("L", (100, 50)))}, "nothing be changed"),
        ({"image": pb.Media(data=b"GIF89a")}, "the image is not a valid"),
        ({"image": pb.Media()}, "the image is not a valid"),
        ({"image": media(RED), "mask": pb.Media(data=b"\x89PNG")}, "the mask is not a valid"),
        ({"image": media(RED), "strength": 1.1}, "strength is 1.1"),
        ({"image": media(RED), "strength": math.nan}, "strength is nan"),
        ({"prompt": "x", "strength": 0.5}, "no image to begin with"),
        ({"prompt": "x", "type": "image/gif"}, "type is image/gif"),
        ({"prompt": "x", "quality": 50}, "quality is 50, of PNG"),
        ({"prompt": "x", "type": "image/webp", "quality": 101}, "quality is 101"),
    ],
)
def test_what_cannot_be_drawn_on_or_written_is_refused(asked, said):
    with pytest.raises(TaskError) as refused:
        read_request(pb.ImageTask(**asked), STABLE_DIFFUSION)
    assert refused.value.code == pb.BAD_REQUEST
    assert said in refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize("kind", ["image/png", "image/webp", "image/jpeg"])
def test_images_are_written_as_the_task_says(kind):
    task = pb.ImageTask(prompt="x", type=kind)
    image = read_request(task, STABLE_DIFFUSION).encoding.image(RED, 3)
    assert (image.media.type, image.seed, image.png) == (kind, 3, b"")
    assert Image.open(io.BytesIO(image.media.data)).get_format_mimetype() == kind


def test_quality_is_a_matter_of_bytes():
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    for kind in ("image/webp", "image/jpeg"):
        tasks = (pb.ImageTask(prompt="x", type=kind, quality=quality) for quality in (1, 100))
        written = [read_request(task, STABLE_DIFFUSION).encoding.media(noise) for task in tasks]
        assert len(written[0].data) < len(written[1].data) / 2


@pytest.mark.parametrize(
    ("steps", "previews", "after"),
    [(10, 3, {2, 5, 8}), (3, 10, {1, 2}), (1, 5, set()), (10, 0, set()), (100, 1, {50})],
)
def test_previews_are_spread_evenly_and_none_is_the_image_itself(steps, previews, after):
    assert shown_after(steps, previews) == after


@given(
    st.builds(
        pb.ImageTask,
        prompt=st.text(max_size=40),
        width=st.integers(0, 2**32 - 1) | st.integers(0, 300),
        height=st.integers(0, 300),
        steps=st.integers(0, 2**32 - 1) | st.integers(0, 250),
        guidance=st.none() | st.floats(width=32),
        seed=st.none() | st.integers(0, SEEDS - 1),
        n=st.integers(0, 2**32 - 1) | st.integers(0, 12),
    )
)
def test_every_task_is_either_refused_or_within_bounds(task):
    try:
        request = read_request(task, STABLE_DIFFUSION)
    except TaskError as refused:
        assert refused.code == pb.BAD_REQUEST
        return
    assert 16 <= request.width <= MAX_SIDE and request.width % 8 == 0
    assert 16 <= request.height <= MAX_SIDE and request.height % 8 == 0
    assert 1 <= request.steps <= MAX_STEPS
    assert 1 <= len(request.seeds) <= MAX_IMAGES
    assert all(0 <= seed < SEEDS for seed in request.seeds)
    assert math.isfinite(request.guidance)
