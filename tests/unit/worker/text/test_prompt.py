"""Conversations go through the model's template, prompts as they are."""

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.text.prompt import encode
from tiny_models import tokenizer


def message(role: str, content: str) -> pb.ChatMessage:
    return pb.ChatMessage(role=role, content=content)


def test_a_conversation_goes_through_the_models_template() -> None:
    fast = tokenizer()
    task = pb.TextTask(messages=[message("user", "hello"), message("assistant", "yes")])
    assert fast.decode(encode(fast, task)) == "<user>hello<assistant>yes<assistant>"


def test_a_prompt_is_taken_as_it_is() -> None:
    fast = tokenizer(chat=False)
    assert fast.decode(encode(fast, pb.TextTask(prompt="Grüße 🙂"))) == "Grüße 🙂"


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
def test_what_cannot_be_encoded_is_refused_with_advice(
    task: pb.TextTask, chat: bool, said: str, remedy: str
) -> None:
    with pytest.raises(TaskError) as refusal:
        encode(tokenizer(chat=chat), task)
    assert refusal.value.code == pb.BAD_REQUEST
    assert said in refusal.value.message
    assert remedy in refusal.value.remedy
