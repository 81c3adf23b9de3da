"""From a task's messages or prompt to the tokens that a model continues."""

from collections.abc import Sequence
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.tokenizer import is_longer, panicked
from daiic.worker.engines.transformers_text.chat_template import ChatTemplate

ROLES = ("system", "user", "assistant")


async def text_of(template: ChatTemplate | None, task: pb.TextTask) -> str:
    """Return the text that `task` wants continued: its conversation by `template`, or its prompt.

    Raises:
        TaskError: BAD_REQUEST if there is nothing to continue, or if the
            model's chat template cannot take the conversation.
        ModelRefused: if the template is not to be run any more.
    """
    if task.messages and task.prompt:
        raise TaskError(
            pb.BAD_REQUEST,
            "the task has both `messages` and a `prompt`",
            "send `messages` for a conversation or `prompt` for a text to continue",
        )
    if not task.messages:
        return task.prompt
    for message in task.messages:
        if message.role not in ROLES:
            raise TaskError(
                pb.BAD_REQUEST,
                f'a message has the role "{message.role}"',
                f"roles are {', '.join(ROLES)}",
            )
    if template is None:
        raise TaskError(
            pb.BAD_REQUEST,
            "the model has no chat template, so it takes no `messages`",
            "send the text as `prompt`, or choose a model made for chat (often named -instruct)",
        )
    return await template.render(
        [{"role": message.role, "content": _content(message)} for message in task.messages]
    )


def _content(message: pb.ChatMessage) -> str:
    """Return the text of `message`; that of parts is joined with nothing in between."""
    if message.content and message.parts:
        raise TaskError(
            pb.BAD_REQUEST,
            "a message has both `content` and `parts`",
            "send `content` for a text, or `parts` for a text in pieces",
        )
    return message.content or "".join(part.text for part in message.parts)


def encode(tokenizer: Any, task: pb.TextTask, text: str, context: int) -> list[int]:
    """Return the tokens of the `text_of` a task for a model that takes `context` of them.

    Raises:
        TaskError: BAD_REQUEST if there are none, or if they are by far too many.
    """
    try:
        if is_longer(tokenizer, text, context):
            raise TaskError(
                pb.BAD_REQUEST,
                f"the prompt has {len(text)} characters, and the model's context {context} tokens",
                f"shorten the prompt to at most {context - 1} tokens",
            )
        # A template has put the tokens in with which texts begin.
        tokens = tokenizer(text, add_special_tokens=not task.messages).input_ids
    except BaseException as error:
        if not panicked(error):
            raise
        raise TaskError(
            pb.BAD_REQUEST, "the model's tokenizer cannot take this text", "choose another model"
        ) from None
    if not tokens:
        raise TaskError(
            pb.BAD_REQUEST,
            "the prompt is empty",
            "send `messages` for a conversation or `prompt` for a text to continue",
        )
    return list(tokens)


def check_resumed(tokens: Sequence[int], vocabulary: int) -> None:
    """Refuse tokens of an earlier run that a model with a `vocabulary` of that size lacks.

    A step with one of them fails for all tasks in it, and may cost the GPU's context.

    Raises:
        TaskError: BAD_REQUEST if there is one.
    """
    largest = max(tokens, default=0)
    if largest >= vocabulary:
        raise TaskError(
            pb.BAD_REQUEST,
            f"the task resumes after the token {largest}, and the model has {vocabulary} tokens",
            "send it without `resume`, or resume it with the model that began the answer",
        )
