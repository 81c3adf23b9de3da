"""Telling a lack of memory, and a device that is lost, from other failures."""

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out, on a GPU or in RAM.

    torch's OutOfMemoryError is a RuntimeError; its CPU allocator raises a
    plain one that only its text tells apart.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def is_device_lost(error: BaseException) -> bool:
    """Return whether `error` is one after which the GPU serves this process no more.

    A kernel's fault spoils the process's context on the device: every later
    call fails too, until the process is started again.
    """
    text = str(error)
    return isinstance(error, RuntimeError) and ("CUDA error" in text or "HIP error" in text)


def does_not_fit(name: str) -> TaskError:
    """Return that the model `name` does not fit, however small its budget."""
    return TaskError(
        pb.OUT_OF_MEMORY,
        f"{name} does not fit into this worker's memory",
        'use a smaller model, quantization = "4bit", ram_offload = true, or raise vram_limit and '
        "ram_limit if they are set",
    )
