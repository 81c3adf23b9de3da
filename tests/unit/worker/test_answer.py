"""One task's answer when memory runs out under it, and before its model is there."""

import asyncio

import pytest
import structlog

from daiic.errors import TaskError
from daiic.head.worker_messages import MOVABLE
from daiic.wire import daiic_pb2 as pb
from daiic.worker import answer as answering
from daiic.worker.answer import answer
from daiic.worker.engines.interface import (
    DeviceLost,
    EngineOutOfMemory,
    EngineRestarted,
    ModelRefused,
)
from support.models.fake_engine import WORDS, FakeMemory

OUT_OF_MEMORY = EngineOutOfMemory("Tried to allocate 20.00 MiB")


def text_task(**fields):
    return pb.Task(model="a", stream=True, text=pb.TextTask(prompt="go"), **fields)


async def parts_of(manager, task):
    return [part async for part in answer(manager, task)]


async def test_parts_are_numbered_from_where_an_earlier_run_ended(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 10}))
    resume = pb.Resume(tokens=[0, 1], text="one two ", index=7)
    parts = await parts_of(manager, text_task(resume=resume))
    spoken = [part for part in parts if part.text]
    assert [part.text for part in spoken] == WORDS[2:]
    assert [part.index for part in parts] == list(range(7, 7 + len(parts)))
    assert parts[-1].final


async def test_answer_continues_after_memory_ran_out_under_it(new_manager):
    memory = FakeMemory(1000, {"a": 10})
    failing = [3, 4]

    async def before_word(engine, index):
        if failing and index == failing[0]:
            failing.pop(0)
            raise OUT_OF_MEMORY

    memory.before_word = before_word
    manager = new_manager(memory)
    parts = await parts_of(manager, text_task())
    assert "".join(part.text for part in parts) == "".join(WORDS)
    assert [part.index for part in parts] == list(range(len(parts)))
    budgets = [engine.budget.ram_bytes for engine in memory.engines]
    assert budgets == [1000, 800, 640]
    assert [list(engine.tasks[0].resume.tokens) for engine in memory.engines] == [
        [],
        [0, 1, 2],
        [0, 1, 2, 3],
    ]
    assert memory.engines[0].closed and memory.engines[1].closed


async def test_answer_continues_on_an_engine_that_was_started_again(new_manager):
    memory = FakeMemory(1000, {"a": 10})
    restarts = iter([EngineRestarted("on purpose")])

    async def before_word(engine, index):
        if index == 2 and (restart := next(restarts, None)):
            raise restart

    memory.before_word = before_word
    parts = await parts_of(new_manager(memory), text_task())
    assert [part.text for part in parts if part.text] == WORDS
    assert [part.index for part in parts] == list(range(len(parts)))
    (engine,) = memory.engines
    assert engine.tasks[1].resume.text == "".join(WORDS[:2])


async def test_other_tasks_on_the_engine_continue_too(new_manager):
    memory = FakeMemory(1000, {"a": 10})
    turns = 0

    async def before_word(engine, index):
        nonlocal turns
        await asyncio.sleep(0.001)
        if engine is memory.engines[0]:
            turns += 1
            if turns == 7:
                raise OUT_OF_MEMORY

    memory.before_word = before_word
    manager = new_manager(memory)
    answers = await asyncio.gather(*(parts_of(manager, text_task()) for _ in range(4)))
    for parts in answers:
        assert "".join(part.text for part in parts) == "".join(WORDS)
    assert len(memory.engines) == 2


async def test_task_that_always_runs_out_of_memory_fails_in_the_end(new_manager):
    memory = FakeMemory(1000, {"a": 10})

    async def before_word(engine, index):
        raise OUT_OF_MEMORY

    memory.before_word = before_word
    with pytest.raises(TaskError) as caught:
        await parts_of(new_manager(memory), text_task())
    assert caught.value.code == pb.OUT_OF_MEMORY and caught.value.remedy
    assert len(memory.engines) == answering.ATTEMPTS


async def test_task_under_which_the_engine_is_always_started_again_is_not_said_to_lack_memory(
    new_manager,
):
    memory = FakeMemory(1000, {"a": 10})

    async def before_word(engine, index):
        raise EngineRestarted

    memory.before_word = before_word
    with pytest.raises(TaskError) as refused:
        await parts_of(new_manager(memory), text_task())
    assert refused.value.code == pb.INTERNAL
    assert "was started again" in refused.value.message


async def test_other_failures_of_an_engine_are_not_tried_again(new_manager):
    memory = FakeMemory(1000, {"a": 10})

    async def before_word(engine, index):
        raise RuntimeError("secret prompt text")

    memory.before_word = before_word
    manager = new_manager(memory)
    with pytest.raises(TaskError) as caught:
        await parts_of(manager, text_task())
    assert caught.value.code == pb.INTERNAL and "secret" not in str(caught.value)
    assert memory.loads == ["a"]


async def test_the_first_part_of_each_run_says_which_model_answers(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 10}))
    parts = await parts_of(manager, text_task())
    told = [part.model for part in parts if part.text and part.HasField("model")]
    assert told == [pb.ModelIdentity(quantization="4bit")]
    assert parts[[bool(part.text) for part in parts].index(True)].HasField("model")


BEGUN = {"tokens": [0, 1], "text": "one two ", "index": 7}


@pytest.mark.parametrize(
    "model",
    [
        None,
        pb.ModelIdentity(),
        pb.ModelIdentity(quantization="4bit"),
        pb.ModelIdentity(quantization="4bit", weights="known there only"),
    ],
)
async def test_an_answer_goes_on_where_nothing_says_that_the_model_is_another(new_manager, model):
    manager = new_manager(FakeMemory(100, {"a": 10}))
    parts = await parts_of(manager, text_task(resume=pb.Resume(model=model, **BEGUN)))
    assert "".join(part.text for part in parts) == "".join(WORDS[2:])
    assert not any(part.started_over for part in parts)


async def test_an_answer_that_another_model_began_starts_over_and_says_so(new_manager):
    manager = new_manager(FakeMemory(100, {"a": 10}))
    resume = pb.Resume(model=pb.ModelIdentity(quantization="none"), **BEGUN)
    with structlog.testing.capture_logs() as logs:
        parts = await parts_of(manager, text_task(resume=resume))
    assert "".join(part.text for part in parts) == "".join(WORDS)
    assert [part.index for part in parts] == list(range(7, 7 + len(parts)))
    spoken = [part for part in parts if part.text]
    assert [part.started_over for part in spoken] == [True, *[False] * 4]
    assert spoken[0].model.quantization == "4bit"
    assert [line["differs"] for line in logs if "starts over" in line["event"]] == ["quantization"]


async def test_a_reload_that_changes_the_model_starts_its_answers_over(new_manager):
    memory = FakeMemory(1000, {"a": 10})

    async def before_word(engine, index):
        if engine is memory.engines[0] and index == 3:
            raise OUT_OF_MEMORY

    memory.before_word = before_word
    manager = new_manager(memory)
    loads = memory.load

    async def load(*arguments):
        engine = await loads(*arguments)
        if len(memory.engines) == 2:
            engine.quantization = "none"  # as when 4 bits cannot be had with less memory
        return engine

    memory.load = load
    parts = await parts_of(manager, text_task())
    begins = [part.started_over for part in parts].index(True)
    assert "".join(part.text for part in parts[:begins]) == "".join(WORDS[:3])
    assert "".join(part.text for part in parts[begins:]) == "".join(WORDS)


MEDIA = pb.Media(data=b"x", type="image/png")


def message(**fields):
    return pb.TextTask(messages=[pb.ChatMessage(**{"role": "user", **fields})])


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (pb.TextTask(prompt="x", tools=[pb.Tool(name="f")]), "call tools"),
        (
            pb.TextTask(prompt="x", tool_choice=pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)),
            "call tools",
        ),
        (message(tool_calls=[pb.ToolCall(name="f")]), "call tools"),
        (message(role="tool", content="7"), "call tools"),
        (pb.TextTask(prompt="x", constraint=pb.Constraint(regex="a+")), "`constraint`"),
        (pb.TextTask(prompt="x", sampling=pb.Sampling(min_p=0.1)), "`sampling`"),
        (message(parts=[pb.ContentPart(image=MEDIA)]), "see images"),
        (message(parts=[pb.ContentPart(audio=MEDIA)]), "hear audio"),
        (pb.TextTask(prompt="x", reasoning_effort="high"), "`reasoning_effort`"),
        (message(reasoning="hm"), "`reasoning` of messages"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_by_name_before_it_is_loaded(
    new_manager, work, told
):
    memory = FakeMemory(100, {"a": 10})
    manager = new_manager(memory)
    await manager.rescan()
    with pytest.raises(TaskError, match=told) as caught:
        await parts_of(manager, pb.Task(model="a", text=work))
    assert caught.value.code == pb.UNSUPPORTED and caught.value.remedy
    assert memory.loads == []


async def test_everything_that_is_missing_is_named_at_once(new_manager):
    task = text_task(adapters=[pb.Adapter(name="style")])
    task.text.constraint.json = True
    with pytest.raises(TaskError, match="keep to a `constraint` or use `adapters`") as caught:
        await parts_of(new_manager(FakeMemory(100, {"a": 10})), task)
    assert caught.value.code == pb.UNSUPPORTED


async def test_progress_of_the_load_is_told_before_the_answer(new_manager, monkeypatch):
    monkeypatch.setattr(answering, "POLL", 0.01)
    memory = FakeMemory(100, {"a": 10})
    memory.load_takes = 0.05
    parts = await parts_of(new_manager(memory), text_task())
    assert parts[0].progress.phase == "load"
    assert "".join(part.text for part in parts) == "".join(WORDS)


async def test_load_task_ends_when_the_model_is_loaded(new_manager):
    memory = FakeMemory(100, {"a": 10})
    manager = new_manager(memory)
    parts = await parts_of(manager, pb.Task(model="a", load=pb.LoadTask()))
    assert parts[-1].final and memory.loads == ["a"]


async def test_task_of_another_kind_is_refused_before_the_model_is_loaded(new_manager):
    memory = FakeMemory(100, {"a": 10})
    manager = new_manager(memory)
    await manager.rescan()
    with pytest.raises(TaskError, match="a makes text, not images") as caught:
        await parts_of(manager, pb.Task(model="a", image=pb.ImageTask(prompt="x")))
    assert caught.value.code == pb.BAD_REQUEST and memory.loads == []


async def test_cancelled_task_gives_its_lease_back_whenever_it_comes(new_manager):
    memory = FakeMemory(100, {"a": 60, "b": 60})
    memory.load_takes = 0.005
    manager = new_manager(memory)
    for delay in (0.0, 0.001, 0.004, 0.005, 0.006, 0.008):
        (await manager.lease("b")).release()
        running = asyncio.create_task(parts_of(manager, text_task()))
        await asyncio.sleep(delay)
        running.cancel()
        await asyncio.wait({running})
        # Only an engine that nobody holds makes room.
        (await asyncio.wait_for(manager.lease("b"), 1)).release()


async def test_lost_device_is_told_since_only_a_new_process_helps(new_manager):
    memory = FakeMemory(1000, {"a": 10})

    async def before_word(engine, index):
        raise DeviceLost("device-side assert triggered")

    memory.before_word = before_word
    manager = new_manager(memory)
    told = []
    manager.on_device_lost = told.append
    with pytest.raises(TaskError) as caught:
        await parts_of(manager, text_task())
    assert caught.value.code == pb.INTERNAL and len(told) == 1


async def test_model_that_is_refused_is_given_up_and_never_loaded_again(new_manager):
    memory = FakeMemory(1000, {"a": 10})
    refusing = asyncio.Event()

    async def before_word(engine, index):
        if refusing.is_set() and index == 0:
            raise ModelRefused(pb.BAD_REQUEST, "a is refused", "choose another model")
        if index == 3:
            refusing.set()
            while not engine.closed:
                await asyncio.sleep(0)
            raise TaskError(pb.SHUTTING_DOWN, "closed")

    memory.before_word = before_word
    manager = new_manager(memory)
    others = asyncio.create_task(parts_of(manager, text_task()))
    await refusing.wait()
    for _ in range(2):
        with pytest.raises(TaskError, match="a is refused") as e:
            await parts_of(manager, text_task())
        assert e.value.code not in MOVABLE, "another worker would be next"
    with pytest.raises(TaskError, match="a is refused"):
        await others
    assert memory.loads == ["a"] and memory.used == 0
    (status,) = manager.statuses()
    assert (status.state, status.detail) == (pb.FAILED, "a is refused")
