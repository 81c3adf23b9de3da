"""What is refused of a text task by every engine, in the same words."""

import math
from collections.abc import Sequence

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

DEFAULT_MAX_TOKENS = 512
COLDEST = 1e-4
"""Below this temperature, logits divided by it overflow or say no more than which is largest."""
MAX_STOP_STRINGS = LIMITS.stop_strings


def check_one_kind(task: pb.TextTask) -> None:
    """Refuse a `task` that is more than one of a conversation, and a text or tokens to continue.

    Raises:
        TaskError: BAD_REQUEST if it is.
    """
    if task.messages and task.prompt:
        raise bad(
            "the task has both `messages` and a `prompt`",
            "send `messages` for a conversation or `prompt` for a text to continue",
        )
    if task.prompt_tokens and (task.messages or task.prompt):
        raise bad(
            "the task has `prompt_tokens` and something else to continue",
            "send them alone; they are taken as they are",
        )


def check_role(role: str, roles: Sequence[str]) -> None:
    """Refuse the `role` of a message if it is none of those in `roles`.

    Raises:
        TaskError: BAD_REQUEST if it is another.
    """
    if role not in roles:
        raise bad(f'a message has the role "{role}"', f"roles are {', '.join(roles)}")


def check_content(message: pb.ChatMessage) -> None:
    """Refuse a `message` whose content is given twice.

    Raises:
        TaskError: BAD_REQUEST if it has `content` and `parts`.
    """
    if message.content and message.parts:
        raise bad(
            "a message has both `content` and `parts`",
            "send `content` for a text, or `parts` for a text in pieces",
        )


def check_stop(stop: Sequence[str]) -> None:
    """Refuse stop strings that are too many or would stop everything.

    Raises:
        TaskError: BAD_REQUEST if they are.
    """
    if len(stop) > MAX_STOP_STRINGS:
        raise bad(f"`stop` has {len(stop)} strings", f"send at most {MAX_STOP_STRINGS}")
    if "" in stop:
        raise bad("`stop` has an empty string", "leave it out")


def check_chances(temperature: float, top_p: float) -> None:
    """Refuse a temperature or a top_p with which nothing can be drawn.

    Raises:
        TaskError: BAD_REQUEST for one of them.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise bad(
            f"`temperature` is {temperature:g}", "send 0 for greedy, 1 for the model as it is"
        )
    if not 0 < top_p <= 1:
        raise bad(f"`top_p` is {top_p:g}", "send a number above 0 and up to 1, which cuts nothing")


def check_resumed(tokens: Sequence[int], vocabulary: int) -> None:
    """Refuse tokens of an earlier run that a model with a `vocabulary` of that size lacks.

    A step with one of them fails for all tasks in it, and may cost the GPU's context.

    Raises:
        TaskError: BAD_REQUEST if there is one.
    """
    largest = max(tokens, default=0)
    if largest >= vocabulary:
        raise bad(
            f"the task resumes after the token {largest}, and the model has {vocabulary} tokens",
            "send it without `resume`, or resume it with the model that began the answer",
        )


def check_prompt_tokens(tokens: Sequence[int], vocabulary: int) -> None:
    """Refuse a prompt of tokens that a model with a `vocabulary` of that size lacks.

    Raises:
        TaskError: BAD_REQUEST if there is one.
    """
    largest = max(tokens, default=0)
    if largest >= vocabulary:
        raise bad(
            f"`prompt_tokens` has the token {largest}, and the model has {vocabulary} tokens",
            "send the tokens of this model's own tokenizer, or a text",
        )


def room_for_answer(prompt_tokens: int, context: int) -> int:
    """Return how many tokens a `context` has left after the prompt.

    Raises:
        TaskError: BAD_REQUEST if there are none.
    """
    room = context - prompt_tokens
    if room < 1:
        raise bad(
            f"the prompt has {prompt_tokens} tokens and the model's context {context}",
            f"shorten the prompt to at most {context - 1} tokens",
        )
    return room


def empty_prompt() -> TaskError:
    """Return the refusal of a task that has nothing to continue."""
    return bad(
        "the prompt is empty",
        "send `messages` for a conversation or `prompt` for a text to continue",
    )


def bad(what: str, remedy: str) -> TaskError:
    """Return the refusal of a task, for its sender."""
    return TaskError(pb.BAD_REQUEST, what, remedy)


def check_ranking(task: pb.RerankTask) -> None:
    """Refuse a task without a query or documents, or with too many of those.

    Raises:
        TaskError: BAD_REQUEST.
    """
    if not task.query.strip():
        raise bad("`query` is empty", "send what the documents should answer")
    if not task.documents:
        raise bad("`documents` is empty", "send at least one text")
    if len(task.documents) > LIMITS.documents:
        raise bad(
            f"there are {len(task.documents)} documents, and {LIMITS.documents} are ranked at once",
            "send them in several tasks: a score does not depend on the other documents",
        )
