"""What a worker made of the inputs of an embedding, whichever API asked for it."""

from collections.abc import Sequence

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb


def vectors(result: pb.Result, task: pb.Task) -> Sequence[pb.Embedding]:
    """Return the vector of each input of `task`.

    Raises:
        TaskError: INTERNAL if `result` has more or fewer.
    """
    inputs = len(task.embed.inputs) + len(task.embed.token_inputs)
    if len(result.embeddings) != inputs:
        raise TaskError(
            pb.INTERNAL, f"{task.model} gave no vector for each input", "choose another model"
        )
    return result.embeddings
