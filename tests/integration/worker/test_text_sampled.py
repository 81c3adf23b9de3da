"""What a task asks of its tokens is done as the formulas say, and told as the model sees it."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.engine import TextEngine
from integration.worker.test_text import parts, serving, task, text, tokens
from integration.worker.test_text_turns import in_turns
from support.models.tiny_models import PAD, language_model

PROMPT = "The quick brown fox jumps"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny", context=512)


@pytest.fixture(params=["batched", "in turns"])
async def engine(model: Path, request: pytest.FixtureRequest) -> AsyncIterator[TextEngine]:
    async with (serving if request.param == "batched" else in_turns)(model) as engine:
        yield engine


def asked(resume: pb.Resume | None = None, seed: int = 3, **sampling: Any) -> pb.Task:
    parameters: dict[str, Any] = {"temperature": sampling.pop("temperature", 1.0), "seed": seed}
    return task(PROMPT, resume, sampling=pb.Sampling(**sampling), max_tokens=40, **parameters)


async def test_a_repetition_penalty_is_that_of_generate(engine: TextEngine, model: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model)
    ids = AutoTokenizer.from_pretrained(model)(PROMPT, return_tensors="pt")
    settings = GenerationConfig(max_new_tokens=40, do_sample=False, repetition_penalty=1.7)
    expected = reference.generate(**ids, generation_config=settings)[0, ids.input_ids.shape[1] :]
    wanted = asked(repetition_penalty=1.7, temperature=0)
    assert await tokens(engine, wanted) == expected.tolist()
    assert await tokens(engine, asked(temperature=0)) != expected.tolist()


async def test_presence_and_frequency_penalties_count_the_answer_alone(
    engine: TextEngine, model: Path
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model)
    ids = AutoTokenizer.from_pretrained(model)(PROMPT).input_ids
    made: list[int] = []
    with torch.inference_mode():
        for _ in range(40):
            scores = reference(torch.tensor([[*ids, *made]])).logits[0, -1]
            for token in set(made):
                scores[token] -= 0.9 * made.count(token) + 0.4
            made.append(int(scores.argmax()))
    wanted = asked(presence_penalty=0.4, frequency_penalty=0.9, temperature=0)
    assert await tokens(engine, wanted) == made


async def test_min_p_leaves_tokens_that_are_likely_enough(engine: TextEngine) -> None:
    (answer,) = [await parts(engine, asked(min_p=0.2, logprobs=20, temperature=1.5))]
    told = [one for part in answer for one in part.logprobs]
    assert len(told) == 40
    for one in told:
        gap = (one.likeliest[0].logprob - one.token.logprob) / 1.5
        assert gap <= -math.log(0.2) + 1e-4
    assert any(one.likeliest[0].token != one.token.token for one in told)
    only = await tokens(engine, asked(min_p=1.0, temperature=1.5))
    assert only == await tokens(engine, asked(temperature=0))


async def test_a_bias_bans_tokens_and_forces_them(engine: TextEngine) -> None:
    banned = set(await tokens(engine, asked()))
    made = await tokens(engine, asked(logit_bias=dict.fromkeys(banned, -100)))
    assert len(made) == 40 and not banned & set(made)
    assert set(await tokens(engine, asked(logit_bias={65: 100}))) == {65}


async def test_log_probabilities_are_the_models_own_whatever_the_sampling(
    engine: TextEngine, model: Path
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model)
    fast = AutoTokenizer.from_pretrained(model)
    ids = fast(PROMPT).input_ids
    wanted = asked(logprobs=3, temperature=0.5, frequency_penalty=1.0, logit_bias={70: 3})
    answer = await parts(engine, wanted)
    made = [token for part in answer for token in part.tokens]
    told = [one for part in answer for one in part.logprobs]
    assert all(len(part.logprobs) == len(part.tokens) for part in answer)
    with torch.inference_mode():
        expected = reference(torch.tensor([[*ids, *made]])).logits[0].log_softmax(-1)
    for place, (token, one) in enumerate(zip(made, told, strict=True)):
        row = expected[len(ids) + place - 1]
        assert one.token.token == token
        assert one.token.logprob == pytest.approx(float(row[token]), abs=1e-3)
        assert [other.token for other in one.likeliest] == row.topk(3).indices.tolist()
        assert [other.logprob for other in one.likeliest] == pytest.approx(
            row.topk(3).values.tolist(), abs=1e-3
        )
    whole = b"".join(one.token.bytes for one in told).decode(errors="replace")
    whole = whole.replace(PAD, "")  # which is no text
    assert whole.rstrip("\N{REPLACEMENT CHARACTER}") in text(answer)
    none = await parts(engine, asked(logprobs=0))
    assert all(not one.likeliest and one.token.logprob <= 0 for p in none for one in p.logprobs)
    assert sum(len(part.logprobs) for part in none) == 40
    assert not any(part.logprobs for part in await parts(engine, asked()))


EVERYTHING: dict[str, Any] = {
    "min_p": 0.01,
    "repetition_penalty": 1.2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.7,
    "logit_bias": {65: 2.0, 70: -3.0},
}


async def test_an_answer_goes_on_with_the_same_penalties_at_every_token(
    engine: TextEngine,
) -> None:
    made = await tokens(engine, asked(**EVERYTHING))
    rests = await asyncio.gather(
        *(
            tokens(engine, asked(resume=pb.Resume(tokens=made[:seam]), **EVERYTHING))
            for seam in range(40)
        )
    )
    assert rests == [made[seam:] for seam in range(40)]


async def test_tasks_beside_each_other_do_not_share_what_they_ask_for(engine: TextEngine) -> None:
    each = [{name: value} for name, value in EVERYTHING.items()]
    wanted = [asked(seed=seed, **one) for seed in (1, 2) for one in ({}, *each, EVERYTHING)]
    alone = [await tokens(engine, one) for one in wanted]
    assert list(await asyncio.gather(*(tokens(engine, one) for one in wanted))) == alone
    assert len(set(map(tuple, alone))) > len(alone) * 0.7


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"min_p": 1.5}, "`min_p` is 1.5"),
    ({"presence_penalty": math.nan}, "`presence_penalty` is nan"),
    ({"repetition_penalty": 0.0}, "`repetition_penalty` is 0"),
    ({"logit_bias": {1 << 31: 1.0}}, "the token 2147483648"),
    ({"logit_bias": {5: 101.0}}, "101"),
    ({"logprobs": 21}, "`logprobs` is 21"),
]


async def test_values_that_cannot_be_used_are_refused_by_name(engine: TextEngine) -> None:
    for sampling, said in REFUSED:
        with pytest.raises(TaskError, match=said) as refused:
            await tokens(engine, asked(**sampling))
        assert refused.value.code == pb.BAD_REQUEST


async def test_a_prompt_of_tokens_is_taken_as_it_is(engine: TextEngine, model: Path) -> None:
    ids = AutoTokenizer.from_pretrained(model)(PROMPT).input_ids
    wanted = asked()
    expected = await parts(engine, wanted)
    wanted.text.ClearField("prompt")
    wanted.text.prompt_tokens.extend(ids)
    answer = await parts(engine, wanted)
    assert text(answer) == text(expected)
    assert answer[-1].usage.prompt_tokens == len(ids)
    wanted.text.prompt = "and more"
    with pytest.raises(TaskError, match="something else to continue"):
        await parts(engine, wanted)
    wanted.text.ClearField("prompt")
    for tokens_of_others, said in (([5, 1 << 31], "2147483648"), ([5] * 512, "512 tokens")):
        wanted.text.ClearField("prompt_tokens")
        wanted.text.prompt_tokens.extend(tokens_of_others)
        with pytest.raises(TaskError, match=said) as refused:
            await parts(engine, wanted)
        assert refused.value.code == pb.BAD_REQUEST
