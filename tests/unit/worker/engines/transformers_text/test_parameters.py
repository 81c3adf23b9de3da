"""A task's parameters are completed from the model's, and refused where they make no sense."""

import pytest
from transformers import GenerationConfig

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import DEFAULT_MAX_TOKENS
from daiic.worker.engines.transformers_text.parameters import Parameters, resolve

SAMPLING_MODEL = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.9, top_k=20)


def resolved(
    task: pb.TextTask,
    defaults: GenerationConfig | None = None,
    prompt: int = 10,
    context: int = 4096,
) -> Parameters:
    return resolve(task, defaults or GenerationConfig(), prompt_tokens=prompt, context=context)


def test_unset_means_what_the_model_says() -> None:
    sampling = resolved(pb.TextTask(seed=4), SAMPLING_MODEL).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.6, 20, 0.9)
    assert sampling.seed == 4


def test_a_model_that_says_nothing_is_greedy() -> None:
    assert resolved(pb.TextTask()).sampling.temperature == 0


def test_what_the_task_says_goes_first() -> None:
    task = pb.TextTask(temperature=0, top_k=0, top_p=1)
    sampling = resolved(task, SAMPLING_MODEL).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0, 0, 1)


def test_without_a_seed_every_task_gets_another() -> None:
    assert resolved(pb.TextTask()).sampling.seed != resolved(pb.TextTask()).sampling.seed


def test_the_answers_length_is_bounded_by_the_context() -> None:
    assert resolved(pb.TextTask()).max_tokens == DEFAULT_MAX_TOKENS
    assert resolved(pb.TextTask(), GenerationConfig(max_new_tokens=99)).max_tokens == 99
    assert resolved(pb.TextTask(max_tokens=7)).max_tokens == 7
    assert resolved(pb.TextTask(max_tokens=7000), prompt=96, context=4096).max_tokens == 4000


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (pb.TextTask(temperature=-1), "`temperature` is -1"),
        (pb.TextTask(temperature=float("nan")), "`temperature` is nan"),
        (pb.TextTask(top_p=0), "`top_p` is 0"),
        (pb.TextTask(top_p=1.5), "`top_p` is 1.5"),
        (pb.TextTask(stop=["a", ""]), "empty string"),
        (pb.TextTask(stop=["a"] * 17), "17 strings"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(task: pb.TextTask, said: str) -> None:
    with pytest.raises(TaskError) as refusal:
        resolved(task)
    assert refusal.value.code == pb.BAD_REQUEST
    assert said in refusal.value.message
    assert refusal.value.remedy


def test_a_prompt_without_room_for_an_answer_is_refused_with_both_numbers() -> None:
    with pytest.raises(TaskError, match=r"the prompt has 300 tokens and the model's context 256"):
        resolved(pb.TextTask(), prompt=300, context=256)
