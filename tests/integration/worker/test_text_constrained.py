"""An answer that must be something is that, and nothing else, however and wherever it is made."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest
import torch
from transformers import AutoModelForCausalLM

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.grammar import Grammars
from daiic.worker.engines.transformers_text.guide import Guide
from daiic.worker.engines.transformers_text.rules import Rules
from daiic.worker.engines.transformers_text.sampling import Sampling
from integration.worker.test_text import parts, serving, task, text, tokens
from integration.worker.test_text_ahead import streams_on_the_cpu  # noqa: F401
from integration.worker.test_text_turns import in_turns
from support.models import tiny_models
from support.models.tiny_models import language_model

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["ä", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
PERSON = pb.Constraint(json_schema=json.dumps(SCHEMA))
DIGITS = pb.Constraint(regex="^[a-f]{3}[0-9]{2,4}$")
YES = pb.Constraint(grammar='start: answer ("," answer)*\nanswer: "yes" | /n+o/')


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny", ends=True, context=512)


@pytest.fixture(params=["batched", "in turns"])
async def engine(model: Path, request: pytest.FixtureRequest) -> AsyncIterator[TextEngine]:
    async with (serving if request.param == "batched" else in_turns)(model) as engine:
        yield engine


def constrained(
    constraint: pb.Constraint, seed: int = 1, resume: pb.Resume | None = None, **wanted: object
) -> pb.Task:
    parameters: dict[str, object] = {"temperature": 1.0, "seed": seed, "max_tokens": 300} | wanted
    return task("The quick", resume, constraint=constraint, **parameters)


def satisfied(constraint: pb.Constraint, answer: str) -> bool:
    match constraint.WhichOneof("form"):
        case "json":
            return isinstance(json.loads(answer), dict)
        case "json_schema":
            jsonschema.validate(json.loads(answer), json.loads(constraint.json_schema))
            return True
        case "regex":
            return re.fullmatch(constraint.regex, answer) is not None
    return re.fullmatch("(yes|n+o)(,(yes|n+o))*", answer) is not None


async def test_answers_keep_to_what_was_asked_and_end_where_it_is_complete(
    engine: TextEngine,
) -> None:
    asked = [(form, seed) for form in (PERSON, DIGITS, YES) for seed in range(8)]
    answers = await asyncio.gather(*(parts(engine, constrained(*one)) for one in asked))
    finished = [
        (form, text(answer))
        for (form, _), answer in zip(asked, answers, strict=True)
        if answer[-1].finish_reason == pb.FINISH_REASON_STOP
    ]
    assert len(finished) > len(asked) * 0.8
    assert all(satisfied(*one) for one in finished)
    assert len({answer for _, answer in finished}) > len(finished) / 2
    greedy = await parts(engine, constrained(DIGITS, temperature=0))
    assert satisfied(DIGITS, text(greedy))
    assert text(await parts(engine, constrained(pb.Constraint(json=True)))).startswith("{")


async def test_max_tokens_cuts_a_constrained_answer_off_and_says_so(engine: TextEngine) -> None:
    (answer,) = (await parts(engine, constrained(PERSON, max_tokens=4)))[-1:]
    assert answer.finish_reason == pb.FINISH_REASON_LENGTH
    assert answer.usage.completion_tokens == 4


async def test_texts_beside_constrained_ones_are_what_they_are_alone(engine: TextEngine) -> None:
    free = [task("The quick", max_tokens=40, temperature=1, seed=n) for n in range(3)]
    asked = [constrained(form, seed=5) for form in (PERSON, DIGITS, YES)]
    alone = [await tokens(engine, one) for one in (*free, *asked)]
    assert list(await asyncio.gather(*(tokens(engine, one) for one in (*free, *asked)))) == alone


async def test_an_answer_goes_on_at_every_token_as_if_nothing_had_happened(
    engine: TextEngine,
) -> None:
    whole = await parts(engine, constrained(PERSON))
    made = [token for part in whole for token in part.tokens]
    assert len(made) > 20

    async def rest(seam: int) -> list[int]:
        return await tokens(engine, constrained(PERSON, resume=pb.Resume(tokens=made[:seam])))

    seams = range(0, len(made), 1 if isinstance(engine._current.generator, Batch) else 9)
    assert await asyncio.gather(*map(rest, seams)) == [made[seam:] for seam in seams]


async def test_both_ways_of_serving_give_the_same_constrained_answer(model: Path) -> None:
    asked = [constrained(form, seed) for form in (PERSON, YES) for seed in range(4)]
    async with serving(model) as batched:
        expected = [await tokens(batched, one) for one in asked]
    async with in_turns(model) as engine:
        assert [await tokens(engine, one) for one in asked] == expected


REFUSED = [
    (pb.Constraint(regex="(ab"), "unclosed group"),
    (pb.Constraint(regex="(?=a)b"), "look-around"),
    (pb.Constraint(grammar="start: foo"), 'unknown name: "foo"'),
    (pb.Constraint(grammar='begin: "a"'), "start"),
    (pb.Constraint(json_schema="{"), "not valid JSON"),
    (pb.Constraint(json_schema="[]"), "not a JSON object"),
    (pb.Constraint(json_schema='{"type": "text"}'), "Invalid type: text"),
    (pb.Constraint(json_schema='{"not": {}}'), 'Unimplemented keys: ["not"]'),
    (pb.Constraint(json_schema='{"not": {}, "x-guidance": {"lenient": true}}'), "Unimplem"),
    (pb.Constraint(json_schema='{"$ref": "#/$defs/a"}'), "does not exist"),
    (pb.Constraint(json_schema='{"$ref": "http://10.0.0.1/a"}'), "does not fetch"),
    (pb.Constraint(json_schema='{"a":' * 70 + "{}" + "}" * 70), "nested too deeply"),
    (pb.Constraint(regex="a" * 300_000), "300000 characters"),
]


async def test_what_cannot_be_kept_to_is_refused_with_where_and_why(engine: TextEngine) -> None:
    for constraint, said in REFUSED:
        beside = asyncio.create_task(tokens(engine, constrained(DIGITS)))
        with pytest.raises(TaskError, match=re.escape(said)) as refused:
            await parts(engine, constrained(constraint))
        assert refused.value.code == pb.BAD_REQUEST
        assert len(refused.value.message) < 600
        assert await beside


async def test_an_answer_so_far_that_breaks_the_constraint_is_refused(engine: TextEngine) -> None:
    with pytest.raises(TaskError, match="cannot be kept to") as refused:
        await parts(engine, constrained(DIGITS, resume=pb.Resume(tokens=[5, 6])))
    assert refused.value.code == pb.BAD_REQUEST


async def test_a_model_without_an_end_takes_no_constraint(tmp_path: Path) -> None:
    async with serving(language_model(tmp_path / "endless")) as engine:
        assert pb.SCHEMA not in engine.capabilities
        with pytest.raises(TaskError, match="no token that ends a text") as refused:
            await parts(engine, constrained(DIGITS))
        assert refused.value.code == pb.UNSUPPORTED


async def test_texts_prepared_ahead_keep_to_their_constraints_too(
    model: Path,
    streams_on_the_cpu: None,  # noqa: F811
) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(model)
    fast = tiny_models.tokenizer()
    grammars = Grammars(fast, loaded.config.vocab_size, [fast.eos_token_id])
    rules = [Rules(grammar=grammars.compiled(form)) for form in (PERSON, DIGITS, YES)]
    prompt = fast("The quick").input_ids

    async def answers(*, ahead: bool) -> list[list[int]]:
        batch = Batch(loaded, slots=3, capacity=2048, ahead=ahead)

        async def answer(number: int) -> list[int]:
            # Every fourth text has none.
            asked = [*rules, None][number % 4]
            stream = batch.submit(
                prompt,
                Sampling(1.0, 0, 1.0, seed=number),
                max_tokens=200 if asked else 40,
                end_tokens=[fast.eos_token_id],
                guide=asked and Guide.after(asked, len(prompt), prompt),
            )
            made = await stream.new_tokens()
            while not stream.ended:
                made += await stream.new_tokens()
            return made

        try:
            return list(await asyncio.gather(*map(answer, range(12))))
        finally:
            await batch.close()

    expected = await answers(ahead=False)
    assert satisfied(PERSON, fast.decode(expected[0], skip_special_tokens=True))
    assert await answers(ahead=True) == expected
