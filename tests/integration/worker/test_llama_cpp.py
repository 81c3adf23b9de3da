"""GGUF models are answered by llama.cpp as transformers would, and go on where they broke off."""

import asyncio
from pathlib import Path

import psutil
import pytest
import torch
from gguf import PoolingType
from transformers import AutoModelForCausalLM, AutoTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.probe import probe
from support.llama_cpp.running import answer, resumed, serving, use, whole
from support.models import tiny_gguf

QUESTIONS = ("Count to ten", "What is a GPU?", "Count to twenty")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.chat_model(tmp_path_factory.mktemp("models") / "chat.gguf")


@pytest.fixture(params=["debian", "wheel"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, monkeypatch)
    return request.param


def asks(question: str, **fields: object) -> pb.Task:
    text = pb.TextTask(
        messages=[pb.ChatMessage(role="user", content=question)],
        **({"temperature": 0, "max_tokens": 48} | fields),
    )
    return pb.Task(model="chat", text=text)


def by_transformers(question: str) -> str:
    tokenizer = AutoTokenizer.from_pretrained(tiny_gguf.TINY_CHAT)
    model = AutoModelForCausalLM.from_pretrained(tiny_gguf.TINY_CHAT, dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    made = model.generate(**prompt, do_sample=False, max_new_tokens=48)
    return tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


async def test_greedy_answers_are_those_of_transformers(program: str, chat: Path) -> None:
    async with serving(chat) as engine:
        answers = await asyncio.gather(*(answer(engine, asks(each)) for each in QUESTIONS))
    assert [whole(parts) for parts in answers] == [by_transformers(each) for each in QUESTIONS]


async def test_a_temperature_near_zero_is_greedy(program: str, chat: Path) -> None:
    async with serving(chat) as engine:
        greedy, coldest = [
            await answer(
                engine,
                pb.Task(
                    model="chat",
                    text=pb.TextTask(prompt="Count", max_tokens=16, temperature=temperature),
                ),
            )
            for temperature in (0, 1e-38)
        ]
    assert whole(coldest) == whole(greedy)


async def test_an_answer_goes_on_after_every_token(program: str, chat: Path) -> None:
    task = asks("Tell me a story", stop=["and the", "never"], max_tokens=30)
    async with serving(chat) as engine:
        parts = await answer(engine, task)
        for number in range(len(parts)):
            rest = await answer(engine, resumed(task, parts[:number]))
            assert whole(parts[:number]) + whole(rest) == whole(parts)
            assert rest[-1].usage.completion_tokens == parts[-1].usage.completion_tokens
            assert rest[-1].finish_reason == parts[-1].finish_reason


async def test_tokens_are_answered_as_their_text_and_unknown_ones_refused(
    program: str, chat: Path
) -> None:
    tokens = AutoTokenizer.from_pretrained(tiny_gguf.TINY_CHAT)("Count to").input_ids
    text = {"max_tokens": 24, "temperature": 0}

    def task(**prompt: object) -> pb.Task:
        return pb.Task(model="chat", text=pb.TextTask(**prompt, **text))

    async with serving(chat) as engine:
        assert pb.TOKENS in engine.capabilities
        by_text = await answer(engine, task(prompt="Count to"))
        by_tokens = await answer(engine, task(prompt_tokens=tokens))
        other = await answer(engine, task(prompt_tokens=tokens[:-1]))
        assert by_tokens[-1].usage.prompt_tokens == len(tokens)
        assert whole(by_tokens) == whole(by_text) != whole(other)
        rest = await answer(engine, resumed(task(prompt_tokens=tokens), by_tokens[:9]))
        assert whole(by_tokens[:9]) + whole(rest) == whole(by_tokens)
        with pytest.raises(TaskError) as error:
            await answer(engine, task(prompt_tokens=[*tokens, 1 << 20]))
    assert error.value.code == pb.BAD_REQUEST


async def test_the_second_turn_finds_the_first_in_the_cache(program: str, chat: Path) -> None:
    task = asks("Count to ten")
    async with serving(chat) as engine:
        first = await answer(engine, task)
        assert first[-1].usage.cached_tokens == 0
        task.text.messages.add(role="assistant", content=whole(first))
        task.text.messages.add(role="user", content="And to three?")
        second = await answer(engine, task)
    usage = second[-1].usage
    assert first[-1].usage.prompt_tokens < usage.cached_tokens < usage.prompt_tokens


async def test_a_split_model_is_the_same_model(program: str, chat: Path, tmp_path: Path) -> None:
    first = tiny_gguf.chat_model(tmp_path / "parts.gguf", parts=2)
    async with serving(chat) as one, serving(first) as other:
        task = asks("What is a GPU?")
        assert whole(await answer(one, task)) == whole(await answer(other, task))


@pytest.mark.parametrize("pooling", [PoolingType.MEAN, PoolingType.CLS])
async def test_embeddings_have_length_one_and_the_order_of_the_texts(
    program: str, tmp_path: Path, pooling: PoolingType
) -> None:
    path = tiny_gguf.embedding_model(tmp_path / "sentences.gguf", pooling=pooling)
    async with serving(path) as engine:
        both = (await answer(engine, embeds("a cat", "two dogs")))[0]
        swapped = (await answer(engine, embeds("two dogs", "a cat")))[0]
    vectors = [torch.tensor(list(one.values)) for one in both.embeddings]
    assert [vector.norm().item() for vector in vectors] == pytest.approx([1, 1], abs=1e-3)
    assert vectors[0].shape == (tiny_gguf.BERT_WIDTH,)
    for vector, other in zip(vectors, reversed(swapped.embeddings), strict=True):
        assert list(other.values) == pytest.approx(vector.tolist(), abs=1e-3)
    assert vectors[0] @ vectors[1] < 0.999


async def test_embeddings_of_tokens_are_those_of_their_text(program: str, tmp_path: Path) -> None:
    path = tiny_gguf.embedding_model(tmp_path / "sentences.gguf")
    async with serving(path) as engine:
        assert pb.TOKENS in engine.capabilities
        text = (await answer(engine, embeds("a cat")))[0].embeddings[0].values
        letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
        begins, inside = 5, 5 + len(letters)
        tokens = [2, begins, begins + 2, inside, inside + 19, 3]  # [CLS] a c a t [SEP]
        task = pb.Task(model="s", embed=pb.EmbedTask(token_inputs=[pb.Tokens(tokens=tokens)]))
        assert list((await answer(engine, task))[0].embeddings[0].values) == pytest.approx(
            list(text), abs=1e-3
        )
        task.embed.token_inputs[0].tokens.append(9999)
        with pytest.raises(TaskError, match="9999"):
            await answer(engine, task)


async def test_documents_are_ranked_in_their_order_and_long_ones_refused(
    program: str, tmp_path: Path
) -> None:
    path = tiny_gguf.embedding_model(tmp_path / "ranks.gguf", pooling=PoolingType.RANK)
    documents = ["two dogs", "a cat", "a cat and a dog", "a cat"]
    async with serving(path) as engine:
        assert (engine.model_kind, engine.capabilities) == (pb.RERANKING, {pb.RERANK})
        task = pb.Task(model="r", rerank=pb.RerankTask(query="a cat?", documents=documents))
        result = (await answer(engine, task))[0]
        assert len(result.scores) == 4 and result.usage.prompt_tokens > 20
        assert result.scores[1] == pytest.approx(result.scores[3], abs=1e-3)
        assert len({round(score, 2) for score in result.scores}) == 3
        del task.rerank.documents[1:]
        alone = (await answer(engine, task))[0]
        assert list(alone.scores) == pytest.approx([result.scores[0]], abs=1e-3)
        task.rerank.documents.append("a cat " * 100)
        with pytest.raises(TaskError, match="text 2 of 2"):
            await answer(engine, task)
        with pytest.raises(TaskError, match="cannot do a task"):
            await answer(engine, embeds("a cat"))


def embeds(*texts: str) -> pb.Task:
    return pb.Task(model="sentences", embed=pb.EmbedTask(inputs=texts))


async def test_a_dead_child_is_noticed_and_its_task_moves(
    monkeypatch: pytest.MonkeyPatch, chat: Path
) -> None:
    use("debian", monkeypatch)
    async with serving(chat) as engine:
        running = engine.run(asks("Tell me a story", max_tokens=400))
        await anext(running)
        (child,) = [
            each for each in psutil.Process().children() if chat.name in " ".join(each.cmdline())
        ]
        child.kill()
        with pytest.raises(Exception, match="llama-server"):
            async for _ in running:
                pass
        assert not engine.alive


async def test_without_llama_cpp_the_remedy_says_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, chat: Path
) -> None:
    use("none", monkeypatch)
    monkeypatch.setattr("daiic.worker.engines.llama_cpp.llama_server.WHEEL", "no_such_wheel")
    with pytest.raises(TaskError, match="install llama"):
        async with serving(chat):
            pass


@pytest.mark.parametrize("template", [tiny_gguf.CHAT_TEMPLATE, ""])
async def test_a_loaded_model_can_do_what_its_file_promised(tmp_path: Path, template: str) -> None:
    path = tiny_gguf.chat_model(tmp_path / "some.gguf", template=template)
    promised = probe(path, "some")
    assert promised is not None
    assert (pb.CHAT in promised.capabilities) == bool(template)
    async with serving(path) as engine:
        assert engine.capabilities == promised.capabilities


async def test_it_says_what_runs_a_model_and_with_how_much_room(chat: Path) -> None:
    async with serving(chat) as engine:
        assert engine.library == "llama.cpp"
        assert engine.choice.startswith("a GGUF on a CPU; context ")
        assert "tasks at once" in engine.choice or "1 task at once" in engine.choice


async def test_a_model_that_never_gets_loaded_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use("debian", monkeypatch)
    monkeypatch.setattr("daiic.worker.engines.llama_cpp.server.LOAD_PATIENCE", 2.0)
    endless = "{% for a in range(100000) %}" * 3 + "{% endfor %}" * 3
    path = tiny_gguf.chat_model(tmp_path / "endless.gguf", template=endless)
    with pytest.raises(TaskError, match="has not loaded the model in 2 s"):
        async with serving(path):
            pass
    assert str(path) not in str([child.cmdline() for child in psutil.Process().children()])
