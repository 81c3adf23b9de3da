"""Every finished answer to a JSON Schema satisfies it, as another library reads the schema."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.grammar import Grammars
from integration.worker.test_text import parts, serving, text

ROOT = Path(__file__).parents[3]
SUITE = ROOT / ".venv" / "json-schema-suite" / "tests" / "draft2020-12"
BATCH = 64


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TextEngine]:
    torch.set_num_threads(1)
    # A thousand processes would take longer than a thousand answers; other tests have them.
    monkeypatch.setattr(Grammars, "_tried", lambda self, form, sources: [""] * len(sources))
    async with serving(ROOT / "local-models" / "daiic-tiny-chat", slots=BATCH) as engine:
        yield engine


async def answer(engine: TextEngine, schema: Any, seed: int) -> str | None:
    """Return an answer that keeps to `schema`, `None` if it was not finished."""
    asked = pb.TextTask(
        messages=[pb.ChatMessage(role="user", content="Hello")],
        constraint=pb.Constraint(json_schema=json.dumps(schema)),
        max_tokens=100,
        temperature=1.0,
        seed=seed,
    )
    made = await parts(engine, pb.Task(model="tiny", text=asked))
    return text(made) if made[-1].finish_reason == pb.FINISH_REASON_STOP else None


def published() -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield what the cases are about, their schemas, and what does not satisfy these."""
    for file in sorted(SUITE.glob("*.json")):
        for case in json.loads(file.read_text("utf-8")):
            if isinstance(case["schema"], dict):
                wrong = [test["data"] for test in case["tests"] if not test["valid"]]
                yield f"{file.stem}: {case['description']}", case["schema"], wrong


@pytest.mark.skipif(
    not SUITE.is_dir(), reason="tests/support/models/json_schema_suite.sh has not been run"
)
async def test_answers_satisfy_the_published_schemas_and_what_does_not_is_not_made(
    engine: TextEngine,
) -> None:
    grammars = Grammars(engine._tokenizer, engine._vocabulary, engine._end_tokens)
    supported, failures = [], []
    for name, schema, wrong in published():
        try:
            grammar = grammars.compiled(pb.Constraint(json_schema=json.dumps(schema)))
        except TaskError as error:
            assert error.code == pb.BAD_REQUEST
            continue
        assert grammar is not None
        supported.append((name, schema))
        for instance in wrong:
            matcher = grammar.matcher()
            said = engine._tokenizer(json.dumps(instance), add_special_tokens=False).input_ids
            if matcher.try_consume_tokens(said) == len(said) and matcher.is_accepting():
                failures.append(f"{name}: takes {instance}")
    answers = await asyncio.gather(*(answer(engine, schema, seed=1) for _, schema in supported))
    for (name, schema), made in zip(supported, answers, strict=True):
        if made is not None and not Draft202012Validator(schema).is_valid(json.loads(made)):
            failures.append(f"{name}: made {made}")
    assert failures == []
    assert len(supported) > 100
    assert sum(made is not None for made in answers) > len(supported) / 2


def schema(source: random.Random, depth: int = 2) -> dict[str, Any]:
    """Return a small JSON Schema whose answers are finished soon."""
    kinds = ["integer", "number", "string", "enum", "boolean", "const", "pattern", "any"]
    kind = source.choice(kinds + ["object", "array"] * 3 * (depth > 0))
    match kind:
        case "integer":
            low = source.randint(-500, 500)
            return {"type": kind, "minimum": low, "maximum": low + source.randint(0, 2000)}
        case "number":
            return {"type": kind, "minimum": 0, "exclusiveMaximum": source.randint(1, 50)}
        case "string":
            least = source.randint(0, 3)
            return {"type": kind, "minLength": least, "maxLength": least + source.randint(0, 6)}
        case "enum":
            return {"enum": source.sample(["a", "ß", '"', 1, -2.5, None, True, [1], {"b": 2}], 3)}
        case "const":
            return {"const": source.choice(["日本", 0, [], {"a": [None]}])}
        case "pattern":
            return {"type": "string", "pattern": source.choice(["^[a-c]{2,4}$", "^\\d+-x?$"])}
        case "any":
            return {"anyOf": [schema(source, depth - 1) for _ in range(2)]}
        case "array":
            most = source.randint(0, 3)
            return {"type": kind, "items": schema(source, depth - 1), "maxItems": most}
        case "object":
            names = source.sample(["id", "näme", "x y", "tags", "of"], source.randint(0, 3))
            return {
                "type": kind,
                "properties": {name: schema(source, depth - 1) for name in names},
                "required": source.sample(names, source.randint(0, len(names))),
                "additionalProperties": False,
            }
    return {"type": kind}


async def test_a_thousand_random_schemas_are_kept_to(engine: TextEngine) -> None:
    source = random.Random(7)
    schemas = [schema(source) for _ in range(1000)]
    places = asyncio.Semaphore(BATCH)

    async def checked(number: int) -> bool:
        async with places:
            made = await answer(engine, schemas[number], seed=number)
        if made is not None:
            Draft202012Validator(schemas[number]).validate(json.loads(made))
        return made is not None

    finished = await asyncio.gather(*map(checked, range(len(schemas))))
    assert sum(finished) > 800
