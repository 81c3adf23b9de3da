"""A constraint that would take all time, memory or stack is refused, and harms no other task."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text import guide
from daiic.worker.engines.transformers_text.engine import TextEngine
from integration.worker.test_text import serving, task, tokens
from support.models.tiny_models import language_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny", ends=True, context=512)


@pytest.fixture
async def engine(model: Path) -> AsyncIterator[TextEngine]:
    async with serving(model) as engine:
        yield engine


def chained_rules(count: int) -> str:
    rules = "".join(f"r{n}: r{n + 1}\n" for n in range(count))
    return f'start: r0\n{rules}r{count}: "a"'


def chained_references(count: int) -> str:
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(count)}
    return json.dumps({"$ref": "#/$defs/d0", "$defs": chain | {f"d{count}": {"type": "null"}}})


HOSTILE = {
    "rules that call rules": (pb.Constraint(grammar=chained_rules(9000)), "too much memory"),
    "references to references": (
        pb.Constraint(json_schema=chained_references(7000)),
        "too much memory",
    ),
    "a schema of nothing but itself": (
        pb.Constraint(
            json_schema='{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}'
        ),
        "cannot be kept to",
    ),
    "open ends": (pb.Constraint(regex="a?" * 60_000), "too much"),
    "many at once": (
        pb.Constraint(
            json_schema=json.dumps(
                {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(6000)}}
            )
        ),
        "too much|cannot be kept to",
    ),
    "brackets": (pb.Constraint(grammar="start: " + "(" * 100_000), "nested"),
}


async def test_a_constraint_that_takes_too_much_is_refused_and_others_go_on(
    engine: TextEngine,
) -> None:
    for name, (constraint, said) in HOSTILE.items():
        beside = asyncio.create_task(tokens(engine, task("a", max_tokens=100, temperature=0)))
        with pytest.raises(TaskError) as refused:
            await tokens(engine, task("The quick", constraint=constraint, max_tokens=300))
        assert re.search(said, refused.value.message), (name, refused.value.message)
        assert refused.value.code == pb.BAD_REQUEST
        assert len(refused.value.message) < 600
        assert await beside


async def test_repetitions_of_repetitions_are_answered_or_refused_and_others_go_on(
    engine: TextEngine,
) -> None:
    beside = asyncio.create_task(tokens(engine, task("a", max_tokens=100, temperature=0)))
    regex = "((a{1,1000}){1,1000}){1,1000}"
    wanted = task("The quick", constraint=pb.Constraint(regex=regex), temperature=1, seed=1)
    try:
        parts = [part async for part in engine.run(wanted)]
    except TaskError as refused:
        assert refused.code == pb.BAD_REQUEST
    else:
        assert re.fullmatch("a+", "".join(part.text for part in parts))
    assert await beside


async def test_an_answer_whose_masks_take_too_long_ends_and_says_why(
    engine: TextEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guide, "MASK_SECONDS", 0.0)
    monkeypatch.setattr(guide, "USUAL", 0.0)
    with pytest.raises(TaskError, match="take too long") as refused:
        await tokens(engine, task("The quick", constraint=pb.Constraint(json=True), seed=1))
    assert refused.value.code == pb.BAD_REQUEST
    free = task("The quick", max_tokens=5)
    assert await tokens(engine, free)


async def test_a_constraint_that_was_refused_can_be_followed_by_one_that_is_kept_to(
    engine: TextEngine,
) -> None:
    for constraint in (HOSTILE["brackets"][0], pb.Constraint(regex="[a-f]{4}")):
        wanted = task("The quick", constraint=constraint, temperature=1, seed=2)
        try:
            parts = [part async for part in engine.run(wanted)]
        except TaskError:
            continue
    assert re.fullmatch("[a-f]{4}", "".join(part.text for part in parts))
