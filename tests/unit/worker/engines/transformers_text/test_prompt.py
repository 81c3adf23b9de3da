"""Conversations go through the model's template, prompts as they are."""

from types import SimpleNamespace
from typing import Any

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.tokenizer import PIECE
from daiic.worker.engines.transformers_text.chat_template import template_of
from daiic.worker.engines.transformers_text.prompt import encode, text_of
from support.models.tiny_models import tokenizer

CONTEXT = 1024


def message(role: str, content: str) -> pb.ChatMessage:
    return pb.ChatMessage(role=role, content=content)


async def encoded(tokenizer: Any, task: pb.TextTask) -> list[int]:
    template = template_of(tokenizer, "model")
    try:
        return encode(tokenizer, task, await text_of(template, task), CONTEXT)
    finally:
        if template is not None:
            template.close()


async def test_a_conversation_goes_through_the_models_template() -> None:
    fast = tokenizer()
    task = pb.TextTask(messages=[message("user", "hello"), message("assistant", "yes")])
    assert fast.decode(await encoded(fast, task)) == "<user>hello<assistant>yes<assistant>"


async def test_a_message_in_pieces_of_text_is_the_same_as_their_texts_joined() -> None:
    fast = tokenizer()
    pieces = pb.ChatMessage(
        role="user", parts=[pb.ContentPart(text=text) for text in ("hel", "lo")]
    )
    whole = pb.TextTask(messages=[message("user", "hello")])
    assert await encoded(fast, pb.TextTask(messages=[pieces])) == await encoded(fast, whole)
    pieces.content = "hello"
    with pytest.raises(TaskError, match="both `content` and `parts`"):
        await encoded(fast, pb.TextTask(messages=[pieces]))


async def test_a_model_with_several_templates_uses_its_default() -> None:
    fast = tokenizer()
    task = pb.TextTask(messages=[message("user", "hello")])
    fast.chat_template = {"tool_use": "tools", "default": "{{ messages[0].content }}!"}
    assert fast.decode(await encoded(fast, task)) == "hello!"
    fast.chat_template = {"tool_use": "tools"}
    with pytest.raises(TaskError, match="no chat template"):
        await encoded(fast, task)


async def test_a_prompt_is_taken_as_it_is() -> None:
    fast = tokenizer(chat=False)
    assert fast.decode(await encoded(fast, pb.TextTask(prompt="Grüße 🙂"))) == "Grüße 🙂"


def test_a_text_that_cannot_fit_is_refused_before_it_takes_memory() -> None:
    fast, given = tokenizer(chat=False), []

    def counting(text: str, **options: Any) -> Any:
        given.append(len(text))
        return fast(text, **options)

    with pytest.raises(TaskError, match="4194304 characters, and the model's context 1024 tokens"):
        encode(counting, pb.TextTask(prompt="x"), "spam" * (1 << 20), CONTEXT)
    assert given == [PIECE]


def test_a_long_text_of_few_tokens_is_taken_whole() -> None:
    given: list[int] = []

    def generous(text: str, **options: Any) -> Any:
        given.append(len(text))
        return SimpleNamespace(input_ids=[1] * (len(text) >> 10))

    task = pb.TextTask(prompt="x")
    assert len(encode(generous, task, "x" * (1 << 20), CONTEXT)) == CONTEXT
    assert given[-1] == 1 << 20


async def test_a_tokenizer_that_panics_fails_the_task_only() -> None:
    class PanicException(BaseException):
        """As the tokenizers library's binding has it."""

    def panics(*args: object, **options: object) -> None:
        raise PanicException("called `Option::unwrap()` on a `None` value")

    with pytest.raises(TaskError, match="tokenizer cannot take this text"):
        encode(panics, pb.TextTask(prompt="x"), "x", CONTEXT)


@pytest.mark.parametrize(
    ("task", "chat", "said", "remedy"),
    [
        (pb.TextTask(messages=[message("user", "x")]), False, "no chat template", "`prompt`"),
        (pb.TextTask(messages=[message("robot", "x")]), True, '"robot"', "system, user, assistant"),
        (
            pb.TextTask(messages=[message("system", "x")]),
            True,
            "no system messages",
            "some no system message",
        ),
        (pb.TextTask(), True, "the prompt is empty", "`messages`"),
        (pb.TextTask(prompt="x", messages=[message("user", "x")]), True, "both", "`prompt`"),
    ],
)
async def test_what_cannot_be_encoded_is_refused_with_advice(
    task: pb.TextTask, chat: bool, said: str, remedy: str
) -> None:
    with pytest.raises(TaskError) as refusal:
        await encoded(tokenizer(chat=chat), task)
    assert refusal.value.code == pb.BAD_REQUEST
    assert said in refusal.value.message
    assert remedy in refusal.value.remedy
