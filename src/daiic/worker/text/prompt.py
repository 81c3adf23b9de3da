"""From a task's messages or prompt to the tokens that a model continues."""

from typing import Any

from jinja2 import TemplateError

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

ROLES = ("system", "user", "assistant")


def encode(tokenizer: Any, task: pb.TextTask) -> list[int]:
    """Return the tokens of the conversation or the prompt in `task`.

    Raises:
        TaskError: BAD_REQUEST if there is nothing to continue, or if the
            model's chat template cannot take the conversation.
    """
    if task.messages and task.prompt:
        raise TaskError(
            pb.BAD_REQUEST,
            "the task has both `messages` and a `prompt`",
            "send `messages` for a conversation or `prompt` for a text to continue",
        )
    if task.messages:
        tokens = tokenizer(_conversation(tokenizer, task), add_special_tokens=False).input_ids
    else:
        tokens = tokenizer(task.prompt).input_ids
    if not tokens:
        raise TaskError(
            pb.BAD_REQUEST,
            "the prompt is empty",
            "send `messages` for a conversation or `prompt` for a text to continue",
        )
    return list(tokens)


def _conversation(tokenizer: Any, task: pb.TextTask) -> str:
    for message in task.messages:
        if message.role not in ROLES:
            raise TaskError(
                pb.BAD_REQUEST,
                f'a message has the role "{message.role}"',
                f"roles are {', '.join(ROLES)}",
            )
    if not tokenizer.chat_template:
        raise TaskError(
            pb.BAD_REQUEST,
            "the model has no chat template, so it takes no `messages`",
            "send the text as `prompt`, or choose a model made for chat (often named -instruct)",
        )
    messages = [{"role": message.role, "content": message.content} for message in task.messages]
    try:
        conversation = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
    except TemplateError as error:
        raise TaskError(
            pb.BAD_REQUEST,
            f"the model's chat template does not take these messages: {error}",
            "many models want user and assistant in turn, and some no system message",
        ) from error
    return str(conversation)
