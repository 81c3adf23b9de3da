"""What is read from a pipeline's signature: how it is called, and whether it can be used at all."""

from types import SimpleNamespace

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.abilities import abilities_of
from daiic.worker.engines.diffusers.calling import calling_of
from daiic.worker.engines.diffusers.request import read_request


class StableDiffusion:
    def __call__(
        self,
        prompt=None,
        height=None,
        width=None,
        num_inference_steps=50,
        guidance_scale=7.5,
        negative_prompt=None,
        generator=None,
        callback_on_step_end=None,
        **kwargs,
    ):
        raise NotImplementedError


class Distilled:
    """Like Flux: guidance_scale is an input of the model, true_cfg_scale is off."""

    def __init__(self, guidance_embeds):
        self.transformer = SimpleNamespace(config=SimpleNamespace(guidance_embeds=guidance_embeds))

    def __call__(
        self,
        prompt=None,
        negative_prompt=None,
        true_cfg_scale=1.0,
        height=None,
        width=None,
        num_inference_steps=28,
        guidance_scale=3.5,
        generator=None,
        callback_on_step_end=None,
    ):
        raise NotImplementedError


class TrulyGuided:
    """Like Qwen-Image: guided by true_cfg_scale, and only with a negative prompt."""

    def __call__(
        self,
        prompt=None,
        negative_prompt=None,
        true_cfg_scale=4.0,
        height=None,
        width=None,
        num_inference_steps=50,
        guidance_scale=None,
        generator=None,
        callback_on_step_end=None,
    ):
        raise NotImplementedError


class OldCallback:
    """Like PixArt: its steps are told by a callback of the older kind."""

    def __call__(
        self,
        prompt=None,
        negative_prompt="",
        num_inference_steps=20,
        guidance_scale=4.5,
        height=None,
        width=None,
        generator=None,
        callback=None,
        callback_steps=1,
    ):
        raise NotImplementedError


def arguments_for(pipeline, stepped=lambda *what: None, **asked):
    calling = calling_of(pipeline)
    abilities = abilities_of(pipeline, "model", calling)
    request = read_request(pb.ImageTask(prompt="a cat", seed=1, **asked), abilities)
    return calling.arguments(request, 1, stepped)


def refusal_of(pipeline, **asked):
    with pytest.raises(TaskError) as refused:
        arguments_for(pipeline, **asked)
    assert refused.value.code == pb.BAD_REQUEST
    return refused.value


def test_plain_guidance_and_negative_prompts_are_handed_on():
    arguments = arguments_for(StableDiffusion(), guidance=3.0, negative_prompt="rain")
    assert (arguments["guidance_scale"], arguments["negative_prompt"]) == (3.0, "rain")
    assert "negative_prompt" not in arguments_for(StableDiffusion())


def test_a_negative_prompt_without_effect_is_refused_not_ignored():
    assert arguments_for(Distilled(True), guidance=2.0)["guidance_scale"] == 2.0
    assert "negative_prompt" in refusal_of(Distilled(True), negative_prompt="rain").message


def test_guidance_without_effect_is_refused_not_ignored():
    assert "guidance_scale" not in arguments_for(Distilled(False))
    assert "guidance" in refusal_of(Distilled(False), guidance=2.0).message


def test_guidance_that_needs_a_negative_prompt_gets_one():
    arguments = arguments_for(TrulyGuided())
    assert (arguments["true_cfg_scale"], arguments["negative_prompt"]) == (4.0, " ")
    arguments = arguments_for(TrulyGuided(), guidance=2.5, negative_prompt="rain")
    assert (arguments["true_cfg_scale"], arguments["negative_prompt"]) == (2.5, "rain")


def test_steps_are_told_through_either_kind_of_callback():
    told = []

    def stepped(*what):
        told.append(what)

    tensors = {"latents": "so far"}
    told_by_new = arguments_for(StableDiffusion(), stepped)["callback_on_step_end"]
    assert told_by_new(None, 0, 999, tensors) is tensors
    arguments_for(OldCallback(), stepped)["callback"](1, 949, "further")
    assert told == [(1, 999, "so far"), (2, 949, "further")]


def pipeline_with(name="Pipeline", **parameters):
    """A pipeline that could be used but for `parameters`: False takes one away, else a default."""
    names = ["prompt", "height", "width", "num_inference_steps", "generator"]
    names.append("callback_on_step_end")
    kept = [f"{n}=30" for n in names if parameters.pop(n, True)]
    required = [n for n, default in parameters.items() if default is ...]
    optional = [f"{n}={default!r}" for n, default in parameters.items() if default is not ...]
    space = {}
    exec(f"def call(self, {', '.join([*required, *kept, *optional])}): ...", space)
    return type(name, (), {"__call__": space["call"]})()


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (pipeline_with("FillPipeline", mask_image=None), "mask_image"),
        (pipeline_with("VideoPipeline", num_videos_per_prompt=1), "num_videos_per_prompt"),
        (pipeline_with("AudioPipeline", height=False, width=False), "no width and no height"),
        (pipeline_with("QwenImageEditPipeline", image=None), '"Edit"'),
        (pipeline_with("ImageToPosePipeline", pose=...), "needs pose"),
        (pipeline_with("SilentPipeline", callback_on_step_end=False), "does not tell of its steps"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_pipeline_that_cannot_draw_from_text_is_refused_by_name_with_the_reason(pipeline, reason):
    refusal = refusal_of(pipeline)
    assert type(pipeline).__name__ in refusal.message
    assert reason in refusal.message
    assert "docs/models.md" in refusal.remedy
