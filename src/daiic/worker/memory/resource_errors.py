"""The errors of a worker that lacks memory, in words for the sender of the task."""

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineOutOfMemory

OUT_OF_MEMORY = (EngineOutOfMemory, MemoryError)
"""What is raised when memory runs out, in an engine or beside it."""


def does_not_fit(name: str) -> TaskError:
    """Return that the model `name` does not fit, however small its budget."""
    return TaskError(
        pb.OUT_OF_MEMORY,
        f"{name} does not fit into this worker's memory",
        'use a smaller model, quantization = "4bit", ram_offload = true, or raise vram_limit and '
        "ram_limit if they are set",
    )
