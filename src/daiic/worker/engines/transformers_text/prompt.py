"""From a task's messages or prompt to the tokens that a model continues."""

from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import check_one_kind, empty_prompt
from daiic.worker.engines.text.tools import offer_of
from daiic.worker.engines.torch.tokenizer import is_longer, panicked
from daiic.worker.engines.transformers_text.chat_template import ChatTemplate
from daiic.worker.engines.transformers_text.conversation import messages_of, variables_of


async def text_of(
    template: ChatTemplate | None, task: pb.TextTask, *, in_parts: bool = False
) -> str:
    """Return the text that `task` wants continued: its conversation by `template`, or its prompt.

    With `in_parts` the template gets each message's content as a list of texts and images, as
    those of models that see expect it.

    Raises:
        TaskError: BAD_REQUEST if there is nothing to continue, or if the
            model's chat template cannot take the conversation.
        ModelRefused: if the template is not to be run any more.
    """
    check_one_kind(task)
    if not task.messages:
        return task.prompt
    if template is None:
        raise TaskError(
            pb.BAD_REQUEST,
            "the model has no chat template, so it takes no `messages`",
            "send the text as `prompt`, or choose a model made for chat (often named -instruct)",
        )
    messages = messages_of(task, template.traits, in_parts=in_parts)
    variables = variables_of(task, template.traits, offer_of(task).tools)
    return await template.render(messages, variables)


def check_length(tokenizer: Any, text: str, context: int) -> None:
    """Refuse a `text` that has by far more tokens than `context`, before it is made into them.

    Raises:
        TaskError: BAD_REQUEST if it has.
    """
    if is_longer(tokenizer, text, context):
        raise TaskError(
            pb.BAD_REQUEST,
            f"the prompt has {len(text)} characters, and the model's context {context} tokens",
            f"shorten the prompt to at most {context - 1} tokens",
        )


def encode(tokenizer: Any, task: pb.TextTask, text: str, context: int) -> list[int]:
    """Return the tokens of the `text_of` a task, or its own, for a model that takes `context`.

    Raises:
        TaskError: BAD_REQUEST if there are none, or if they are by far too many.
    """
    if task.prompt_tokens:
        return list(task.prompt_tokens)
    try:
        check_length(tokenizer, text, context)
        # A template has put the tokens in with which texts begin.
        tokens = tokenizer(text, add_special_tokens=not task.messages).input_ids
    except BaseException as error:
        if not panicked(error):
            raise
        raise TaskError(
            pb.BAD_REQUEST, "the model's tokenizer cannot take this text", "choose another model"
        ) from None
    if not tokens:
        raise empty_prompt()
    return list(tokens)
