"""A language model answers many tasks at once as it would answer each alone."""

import asyncio
import contextlib
import gc
import json
import random
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import EngineOutOfMemory, LoadOptions
from daiic.worker.engines.torch import configuration_bounds
from daiic.worker.engines.transformers_text import token_streams
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.load import load as load_text
from daiic.worker.memory.budget import MemoryBudget
from support.models.tiny_models import END, language_model

BUDGET = MemoryBudget(vram_bytes=0, ram_bytes=1 << 30)
CONTEXT = 256


@contextlib.asynccontextmanager
async def serving(
    path: Path, *, slots: int = 8, quantization: str = "none", budget: MemoryBudget = BUDGET
) -> AsyncIterator[TextEngine]:
    engine = await load_text(
        path,
        LoadOptions(backend.choose("cpu"), quantization=quantization, slots=slots),
        budget,
        lambda done: None,
    )
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
async def engine(model: Path) -> AsyncIterator[TextEngine]:
    async with serving(model) as engine:
        yield engine


def task(prompt: str, resume: pb.Resume | None = None, **parameters: object) -> pb.Task:
    text = pb.TextTask(prompt=prompt, **parameters)  # type: ignore[arg-type]
    return pb.Task(model="tiny", stream=True, text=text, resume=resume)


async def parts(engine: TextEngine, wanted: pb.Task) -> list[pb.Result]:
    answer = [part async for part in engine.run(wanted)]
    assert [part.final for part in answer] == [False] * (len(answer) - 1) + [True]
    return answer


async def tokens(engine: TextEngine, wanted: pb.Task) -> list[int]:
    return [token for part in await parts(engine, wanted) for token in part.tokens]


def text(answer: list[pb.Result]) -> str:
    return "".join(part.text for part in answer)


def mixed_tasks() -> list[pb.Task]:
    shapes: list[dict[str, object]] = [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 1.5, "top_k": 12},
        {"temperature": 1.0, "top_k": 40, "top_p": 0.5},
    ]
    return [
        task("The quick brown fox " * (1 + n % 3), max_tokens=20 + 5 * n, seed=n, **shapes[n % 5])
        for n in range(12)
    ]


async def test_tasks_with_different_parameters_share_a_batch_and_none_notices(
    engine: TextEngine,
) -> None:
    tasks = mixed_tasks()
    alone = [await tokens(engine, wanted) for wanted in tasks]

    async def later(delay: float, wanted: pb.Task) -> list[int]:
        await asyncio.sleep(delay)
        return await tokens(engine, wanted)

    order = random.Random(1)
    together = await asyncio.gather(*(later(order.random() / 5, wanted) for wanted in tasks))
    assert list(together) == alone
    assert len({tuple(answer) for answer in alone}) == len(alone)


async def test_greedy_text_is_that_of_generate(engine: TextEngine, model: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompt = "The quick brown fox jumps over the lazy dog, and"
    ids = tokenizer(prompt, return_tensors="pt")
    expected = reference.generate(**ids, max_new_tokens=60, do_sample=False)[
        0, ids.input_ids.shape[1] :
    ]
    assert await tokens(engine, task(prompt, max_tokens=60, temperature=0)) == expected.tolist()


async def test_a_prompt_longer_than_a_step_is_read_in_pieces(tmp_path: Path) -> None:
    path = language_model(tmp_path / "long", context=2048)
    reference = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompt = "The quick brown fox jumps over the lazy dog. " * 60
    ids = tokenizer(prompt, return_tensors="pt", truncation=False)
    assert ids.input_ids.shape[1] > 1024
    expected = reference.generate(**ids, max_new_tokens=8, do_sample=False)[
        0, ids.input_ids.shape[1] :
    ]
    others = [task("a", max_tokens=200, seed=n, temperature=1) for n in range(3)]
    async with serving(path) as engine:
        alone = [await tokens(engine, other) for other in others]
        running = [asyncio.create_task(tokens(engine, other)) for other in others]
        assert await tokens(engine, task(prompt, max_tokens=8, temperature=0)) == expected.tolist()
        assert list(await asyncio.gather(*running)) == alone


async def test_prompts_that_do_not_fit_one_step_together_are_each_read_whole(
    engine: TextEngine,
) -> None:
    prompt = "The quick brown fox jumps over the lazy dog. " * 8
    tasks = [task(prompt[n:], max_tokens=10, seed=n, temperature=1) for n in range(8)]
    alone = [await tokens(engine, wanted) for wanted in tasks]
    assert list(await asyncio.gather(*(tokens(engine, wanted) for wanted in tasks))) == alone


async def test_the_same_seed_makes_the_same_text_and_another_makes_another(
    engine: TextEngine, model: Path
) -> None:
    async def said(seed: int, by: TextEngine) -> list[int]:
        return await tokens(by, task("Grüße", max_tokens=40, temperature=1, seed=seed))

    first = await said(3, engine)
    assert await said(3, engine) == first
    assert await said(4, engine) != first
    async with serving(model) as another:
        assert await said(3, another) == first


@pytest.mark.parametrize("seam", [1, 7, 38, 39])
async def test_a_resumed_task_continues_as_if_nothing_had_happened(
    engine: TextEngine, model: Path, seam: int
) -> None:
    wanted = {"max_tokens": 40, "temperature": 1.0, "top_p": 0.95, "seed": 11}
    whole = await parts(engine, task("日本語 🙂", **wanted))
    all_tokens = [token for part in whole for token in part.tokens]
    assert len(all_tokens) == 40
    begun = await parts(engine, task("日本語 🙂", **wanted | {"max_tokens": seam}))
    delivered = pb.Resume(tokens=all_tokens[:seam], text=text(begun))
    async with serving(model) as another:
        rest = await parts(another, task("日本語 🙂", resume=delivered, **wanted))
    assert delivered.text + text(rest) == text(whole)
    assert [*delivered.tokens, *(token for part in rest for token in part.tokens)] == all_tokens
    assert rest[-1].usage == whole[-1].usage
    assert rest[-1].finish_reason == whole[-1].finish_reason == pb.FINISH_REASON_LENGTH


class Steps:
    """Lets a model make as many steps as the test says, however busy the machine is."""

    def __init__(self, engine: TextEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._allowed = threading.Semaphore(0)
        self._forward = engine._model.forward
        monkeypatch.setattr(engine._model, "forward", self._step)

    def _step(self, *args: object, **kwargs: object) -> object:
        self._allowed.acquire(timeout=60)
        return self._forward(*args, **kwargs)

    def allow(self, count: int) -> None:
        self._allowed.release(count)


async def test_the_first_and_the_last_part_of_an_answer_do_not_wait_for_those_between(
    engine: TextEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_streams, "INTERVAL", 0.2)
    await tokens(engine, task("c", max_tokens=3))
    monkeypatch.setattr(token_streams, "INTERVAL", 1e6)
    steps = Steps(engine, monkeypatch)
    steps.allow(3)
    long = engine.run(task("a", max_tokens=40, temperature=1, seed=0))
    assert not (await anext(long)).final
    short = engine.run(task("b", max_tokens=20, temperature=1, seed=1))
    steps.allow(5)
    assert not (await anext(short)).final
    await asyncio.sleep(0.3)  # Nothing that an answer before them began hands out parts of these.
    steps.allow(100)
    assert (await anext(short)).final
    assert (await anext(long)).final


async def test_the_answer_stops_at_a_stop_string_that_spans_tokens(engine: TextEngine) -> None:
    wanted = {"max_tokens": 60, "temperature": 1.0, "seed": 2}
    whole = text(await parts(engine, task("fox", **wanted)))
    stop = whole[20:26]
    cut = await parts(engine, task("fox", stop=[stop], **wanted))
    assert text(cut) == whole[: whole.index(stop)]
    assert cut[-1].finish_reason == pb.FINISH_REASON_STOP
    assert 0 < cut[-1].usage.completion_tokens < 60


async def test_pieces_are_whole_characters_however_wild_the_text(engine: TextEngine) -> None:
    answers = await asyncio.gather(
        *(parts(engine, task("🙂", max_tokens=80, temperature=3, seed=n)) for n in range(8))
    )
    tokenizer = engine._tokenizer
    for answer in answers:
        ids = [token for part in answer for token in part.tokens]
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        assert text(answer).rstrip("\ufffd") == decoded.rstrip("\ufffd")
    assert max(len(answer) for answer in answers) > 2


async def test_the_end_token_ends_the_answer(tmp_path: Path) -> None:
    async with serving(language_model(tmp_path / "ends", ends=True)) as engine:
        end = engine._tokenizer.convert_tokens_to_ids(END)
        for seed in range(40):
            answer = await parts(engine, task("x", max_tokens=150, temperature=2.5, seed=seed))
            if answer[-1].finish_reason == pb.FINISH_REASON_STOP:
                ids = [token for part in answer for token in part.tokens]
                assert ids.index(end) == len(ids) - 1
                assert END not in text(answer)
                return
    raise AssertionError("no answer came to an end by itself")


async def test_a_conversation_is_answered(engine: TextEngine) -> None:
    wanted = pb.Task(
        text=pb.TextTask(messages=[pb.ChatMessage(role="user", content="hi")], max_tokens=5)
    )
    answer = await parts(engine, wanted)
    encoded = engine._tokenizer("<user>hi<assistant>").input_ids
    assert answer[-1].usage.prompt_tokens == len(encoded)
    assert answer[-1].usage.completion_tokens == 5


async def test_a_prompt_that_fills_the_context_is_refused(engine: TextEngine) -> None:
    with pytest.raises(TaskError, match=f"context {CONTEXT}") as refusal:
        await parts(engine, task("fox " * 400))
    assert refusal.value.code == pb.BAD_REQUEST


async def test_an_answer_may_fill_the_context_to_its_end(engine: TextEngine) -> None:
    last = (await parts(engine, task("The", max_tokens=1000, temperature=0.5, seed=1)))[-1]
    assert last.finish_reason == pb.FINISH_REASON_LENGTH
    assert last.usage.prompt_tokens + last.usage.completion_tokens == CONTEXT


async def test_a_closed_answer_leaves_its_place_to_others(model: Path) -> None:
    async with serving(model, slots=1) as engine:
        endless = engine.run(task("a", max_tokens=240, temperature=1, seed=1))
        await anext(endless)
        assert engine.stalled_for < 5
        await endless.aclose()
        assert engine.stalled_for == 0
        async with asyncio.timeout(20):
            assert len(await tokens(engine, task("b", max_tokens=3))) == 3


async def test_more_text_than_the_cache_holds_is_still_answered_correctly(model: Path) -> None:
    tasks = [task("The quick", max_tokens=150, temperature=1, seed=n) for n in range(6)]
    async with serving(model) as roomy:
        expected = [await tokens(roomy, wanted) for wanted in tasks]
    small = MemoryBudget(0, ram_bytes=5 << 19)
    async with serving(model, budget=small) as engine:
        assert engine._current.generator.capacity < 6 * 150
        assert list(await asyncio.gather(*(tokens(engine, t) for t in tasks))) == expected


async def test_closing_ends_what_runs_and_gives_the_memory_back(model: Path) -> None:
    async with serving(model) as engine:
        running = engine.run(task("a", max_tokens=240, temperature=1, seed=1))
        await anext(running)
        weights = weakref.ref(engine._model)
        assert weights() is not None
    with pytest.raises(TaskError) as ended:
        while True:
            await anext(running)
    assert ended.value.code == pb.SHUTTING_DOWN
    del ended  # its traceback holds what was running
    gc.collect()
    assert weights() is None


async def test_out_of_memory_is_told_apart_and_other_failures_heal(
    engine: TextEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine._model.forward
    for raised, expected in (
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            EngineOutOfMemory,
        ),
        (RuntimeError("a fault"), TaskError),
    ):
        failing = raised

        def fail(*args: object, error: Exception = failing, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(engine._model, "forward", fail)
        with pytest.raises(expected, match=r"out of memory|a fault"):
            await tokens(engine, task("a", max_tokens=3))
        monkeypatch.setattr(engine._model, "forward", whole)
        await asyncio.sleep(0.2)
        assert len(await tokens(engine, task("a", max_tokens=3))) == 3


@pytest.mark.parametrize(
    ("spare", "said"),
    [(1 << 18, "more weights than its checkpoint has"), (1 << 40, "more than 5000 parts")],
)
async def test_a_model_that_asks_for_more_than_its_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, said: str
) -> None:
    path = language_model(tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    config.pop("layer_types", None)
    (path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1_000}))
    monkeypatch.setattr(configuration_bounds, "MAX_MODULES", 5_000)
    monkeypatch.setattr(configuration_bounds, "SPARE", spare)
    with pytest.raises(TaskError, match=said) as refusal:
        async with serving(path):
            pass
    assert refusal.value.code == pb.BAD_REQUEST


async def test_weights_that_do_not_fit_their_configuration_are_refused(tmp_path: Path) -> None:
    path = language_model(tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    wider = config | {"intermediate_size": 2 * config["intermediate_size"]}
    (path / "config.json").write_text(json.dumps(wider))
    with pytest.raises(TaskError, match="weights of model do not fit its config") as refusal:
        async with serving(path):
            pass
    assert refusal.value.code == pb.BAD_REQUEST


async def test_an_image_task_is_refused(engine: TextEngine) -> None:
    with pytest.raises(TaskError, match="language model"):
        await parts(engine, pb.Task(model="tiny", image=pb.ImageTask(prompt="x")))


async def test_a_language_model_embeds_too(engine: TextEngine) -> None:
    wanted = pb.Task(model="tiny", embed=pb.EmbedTask(inputs=["one", "two and more", "one"]))
    writing = asyncio.create_task(tokens(engine, task("a", max_tokens=100, seed=1, temperature=1)))
    alone = await tokens(engine, task("a", max_tokens=100, seed=1, temperature=1))
    [answer] = await parts(engine, wanted)
    assert await writing == alone
    vectors = [torch.tensor(embedding.values) for embedding in answer.embeddings]
    assert torch.equal(vectors[0], vectors[2])
    assert vectors[0] @ vectors[1] < 0.999
    assert all(abs(vector.norm() - 1) < 1e-5 for vector in vectors)
    reference = await parts(engine, pb.Task(embed=pb.EmbedTask(inputs=["one"])))
    assert torch.allclose(vectors[0], torch.tensor(reference[0].embeddings[0].values), atol=1e-5)
