"""What an image task may ask for, and what it gets when it does not ask."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
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
