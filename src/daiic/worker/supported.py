"""What a task asks for and its model cannot do: it is refused by name, never ignored."""

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.work import needs_of
from daiic.worker.limits import LIMITS

_FIELDS = {
    pb.TOOLS: ("call tools", "leave out `tools`, `tool_choice` and messages about tools"),
    pb.SCHEMA: ("keep to a `constraint`", "leave it out and say in the prompt what is wanted"),
    pb.SAMPLING: ("sample as `sampling` asks", "leave it out; use temperature, top_p and top_k"),
    pb.SEE: ("see images", "send text only"),
    pb.HEAR: ("hear audio", "send text only"),
    pb.EDIT: ("make images from images", "leave out `image` and `mask`"),
    pb.ADAPTERS: ("use `adapters`", "leave them out, or merge them into a model of its own"),
    pb.TOKENS: ("take tokens in place of texts", "send the texts"),
    pb.DIMENSIONS: ("make shorter embeddings", "leave out `dimensions`"),
    pb.PROMPTS: ("follow `prompt_name`", "leave it out, and begin the inputs with what is wanted"),
    pb.FORMATS: ("write images of another `type`", "leave it out, and take PNG"),
}
"""What engines may lack, by what a task asks for, and what to do. A model without a chat template
says so itself."""


def check_supported(
    task: pb.Task, capabilities: frozenset[pb.Capability], *, reasons: bool
) -> None:
    """Refuse `task` if it needs what a model with `capabilities` cannot do.

    `reasons` says whether its engine tells reasoning from text.

    Raises:
        TaskError: UNSUPPORTED, with everything that is missing and what to do; BAD_REQUEST for
            more adapters than a model may have.
    """
    if len(task.adapters) > LIMITS.adapters:
        raise TaskError(
            pb.BAD_REQUEST,
            f"the task names {len(task.adapters)} adapters, and {LIMITS.adapters} may be used",
            "name fewer of them",
        )
    missing = [_FIELDS[need] for need in sorted((needs_of(task) & _FIELDS.keys()) - capabilities)]
    if task.text.reasoning_effort and not reasons:
        missing.append(("follow `reasoning_effort`", "leave it out"))
    if not reasons and any(message.reasoning for message in task.text.messages):
        missing.append(("read the `reasoning` of messages", "leave it out"))
    if missing:
        raise TaskError(
            pb.UNSUPPORTED,
            f"{task.model} cannot {' or '.join(what for what, _ in missing)} on this worker",
            "; ".join(dict.fromkeys(remedy for _, remedy in missing)),
        )
