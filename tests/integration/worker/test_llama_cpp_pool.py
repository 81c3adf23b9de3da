"""Tasks of a GGUF model share one cache, and all are answered, however long they are."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.load import footprint
from daiic.worker.engines.llama_cpp.program import Options
from daiic.worker.engines.llama_cpp.server import Server
from daiic.worker.models.gguf.description import describe
from daiic.worker.models.model import Model
from support.llama_cpp.running import answer, resumed, serving, use, whole
from support.models import endless_tiny, tiny_gguf

PLENTY = 8 << 30


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    endless_tiny.write(folder / "endless", folder / "endless.gguf")
    tiny_gguf.chat_model(folder / "long.gguf", context=1 << 16)
    tiny_gguf.embedding_model(folder / "sentences.gguf", context=3000)
    return folder


@pytest.fixture(params=["debian", "wheel"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, monkeypatch)
    return request.param


def options(slots: int) -> LoadOptions:
    return LoadOptions(backend("cpu"), slots=slots, threads=1)


def least(path: Path, slots: int) -> int:
    return footprint(Model(path.stem, path, pb.TEXT), options(slots))


def crowded(path: Path, slots: int = 16) -> contextlib.AbstractAsyncContextManager:
    """Serve the model at `path` with so little memory that one task could take the whole cache."""
    return serving(path, options=options(slots), room=least(path, slots))


def continues(prompt: str, tokens: int, **fields: object) -> pb.Task:
    text = pb.TextTask(prompt=prompt, max_tokens=tokens, temperature=0, **fields)
    return pb.Task(model="m", text=text)


async def words_for(engine: object, tokens: int) -> str:
    """Return a text of about so many tokens."""
    ten = (await answer(engine, continues("the cat " * 10, 1)))[-1].usage.prompt_tokens
    twenty = (await answer(engine, continues("the cat " * 20, 1)))[-1].usage.prompt_tokens
    return "the cat " * (tokens * 10 // (twenty - ten))


async def test_tasks_that_do_not_fit_together_are_all_answered(program: str, models: Path) -> None:
    async with crowded(models / "endless.gguf") as engine:
        words = await words_for(engine, 300)
        answers = await asyncio.gather(
            *(answer(engine, continues(f"{n} {words}", 60)) for n in range(16))
        )
    assert [parts[-1].usage.completion_tokens for parts in answers] == [60] * 16
    assert all(parts[-1].finish_reason == pb.FINISH_REASON_LENGTH for parts in answers)


async def test_what_idle_slots_keep_gives_way_to_a_long_prompt(program: str, models: Path) -> None:
    async with crowded(models / "endless.gguf", slots=8) as engine:
        long, short = await words_for(engine, 1900), await words_for(engine, 220)
        await asyncio.gather(*(answer(engine, continues(f"{n} {short}", 4)) for n in range(8)))
        last = (await answer(engine, continues(long, 50)))[-1]
    assert last.usage.prompt_tokens > 1800 and last.usage.completion_tokens == 50


@pytest.mark.parametrize("chats", [False, True], ids=["completion", "chat"])
async def test_two_texts_that_fit_go_on_though_older_ones_were_there_before(
    program: str, models: Path, chats: bool
) -> None:
    def task(text: str) -> pb.Task:
        task = continues(text, 4)
        if chats:
            task.text.prompt = ""
            task.text.messages.add(role="user", content=text)
            task.text.constraint.json = True
        return task

    async with crowded(models / "endless.gguf", slots=4) as engine:
        words = await words_for(engine, 700)
        for old in "abcd":
            await answer(engine, task(f"{old} {words}"))
        texts = {name: f"{name} {words}" for name in "xy"}
        read = []
        for _ in range(4):
            for name in texts:
                usage = (await answer(engine, task(texts[name])))[-1].usage
                read.append(usage.prompt_tokens - usage.cached_tokens)
                texts[name] += "and the cat "
        assert engine.cache_tokens == 2048
    assert min(read[:2]) > 600
    assert max(read[2:]) < 100


async def test_an_answer_that_is_given_up_leaves_its_room_to_the_next(
    program: str, models: Path
) -> None:
    async with crowded(models / "endless.gguf", slots=4) as engine:
        long = await words_for(engine, 1500)
        for number in range(2):
            async with contextlib.aclosing(engine.run(continues(f"{number} {long}", 400))) as given:
                await anext(given)
            last = (await answer(engine, continues(f"{number} and {long}", 50)))[-1]
            assert last.usage.completion_tokens == 50


@pytest.mark.parametrize("chats", [False, True], ids=["completion", "chat"])
async def test_a_prompt_that_is_too_long_is_refused_in_the_same_words(
    program: str, models: Path, chats: bool
) -> None:
    task = continues("the cat " * 3000, 10)
    if chats:
        task.text.messages.add(role="user", content=task.text.prompt)
        task.text.prompt = ""
        task.text.constraint.json = True
    async with serving(models / "endless.gguf", options=options(2)) as engine:
        with pytest.raises(TaskError) as refused:
            await answer(engine, task)
    assert refused.value.code == pb.BAD_REQUEST
    assert "tokens and the model's context 2048" in refused.value.message
    assert refused.value.remedy == "shorten the prompt to at most 2047 tokens"


@pytest.mark.parametrize("chats", [False, True], ids=["completion", "chat"])
async def test_an_answer_that_moved_when_it_was_whole_gets_no_longer(
    program: str, tmp_path: Path, chats: bool
) -> None:
    template = "{{ messages[0].content }}{% if false %}<think></think>{% endif %}<|assistant|>"
    path = tiny_gguf.scripted_model(
        tmp_path / "s.gguf", *("one", "two", "three", "four"), template=template
    )
    task = continues("", 2)
    task.text.messages.add(role="user", content="Count")
    if not chats:
        task.text.messages.clear()
        task.text.prompt = "Count"
    async with serving(path, options=options(2)) as engine:
        parts = [part for part in await answer(engine, task) if not part.final]
        again = await answer(engine, resumed(task, parts))
    assert whole(again) == "" and again[-1].final
    assert again[-1].finish_reason == pb.FINISH_REASON_LENGTH
    assert again[-1].usage.completion_tokens == sum(len(part.tokens) for part in parts) > 0


async def test_the_cache_takes_the_memory_that_was_reckoned(program: str, models: Path) -> None:
    path = models / "long.gguf"
    model = describe(path)
    async with serving(path, options=options(32), room=PLENTY) as engine:
        large = engine.footprint
        assert "context 65,536 a task; 32 tasks at once in 65,536 tokens" in engine.choice
    async with crowded(path, slots=32) as engine:
        small = engine.footprint
        assert small <= least(path, 32)
        assert "context 8,192 of 65,536 a task; 32 tasks at once in 8,192 tokens, as memory" in (
            engine.choice
        )
    grown = model.cache_bytes(65536, 32) - model.cache_bytes(8192, 32)
    assert large - small == pytest.approx(grown, rel=0.2)
    assert large <= least(path, 32) + grown


async def test_the_states_of_a_recurrent_model_take_the_memory_that_was_reckoned(
    program: str, tmp_path: Path
) -> None:
    path = tiny_gguf.recurrent_model(tmp_path / "states.gguf", state=2048)
    held = {}
    for slots in (1, 16):
        server = await Server.start(
            Options(path, Path(), 1024, slots), lambda done: None, LlamaServer()
        )
        held[slots] = server.bytes
        await server.close()
    assert held[16] - held[1] == pytest.approx(15 * describe(path).state_bytes, rel=0.1)


async def test_tasks_of_a_recurrent_model_are_all_answered_however_few_states_there_are(
    program: str, tmp_path: Path
) -> None:
    path = tiny_gguf.recurrent_model(tmp_path / "states.gguf")
    model = describe(path)
    fitting = model.weight_bytes // 4 // model.state_bytes
    async with serving(path, options=options(16)) as engine:
        assert engine.choice.endswith(
            f"{fitting} task{'s' * (fitting > 1)} at once, as each keeps a large state"
        )
        answers = await asyncio.gather(
            *(answer(engine, continues(f"{n} the cat", 20)) for n in range(16))
        )
        alone = await answer(engine, continues("3 the cat", 20))
    assert all(parts[-1].final for parts in answers)
    assert whole(answers[3]) == whole(alone) != ""


async def test_a_long_text_is_embedded_whole_or_refused(program: str, models: Path) -> None:
    async with serving(models / "sentences.gguf", options=options(1)) as engine:
        task = pb.Task(model="m", embed=pb.EmbedTask(inputs=["a cat", "a cat " * 600]))
        (whole_text,) = await answer(engine, task)
        assert len(whole_text.embeddings) == 2 and whole_text.usage.prompt_tokens > 2048
        task.embed.inputs[1] *= 2
        with pytest.raises(TaskError, match="and the model reads 3000 at once"):
            await answer(engine, task)
