"""torch's errors, told as the worker knows those of engines."""

from collections.abc import Iterator
from contextlib import contextmanager

from daiic.worker.engines.interface import DeviceLost, EngineOutOfMemory

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")


@contextmanager
def translated() -> Iterator[None]:
    """Raise EngineOutOfMemory and DeviceLost in place of torch's own errors."""
    try:
        yield
    except Exception as error:
        told = translation(error)
        if told is error:
            raise
        raise told from error


def translation(error: Exception) -> Exception:
    """Return what `error` is to the worker: itself, unless memory ran out or the device is lost."""
    if isinstance(error, EngineOutOfMemory | DeviceLost):
        return error
    if is_out_of_memory(error):
        return EngineOutOfMemory(str(error))
    return DeviceLost(str(error)) if is_device_lost(error) else error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out, on a GPU or in RAM.

    torch's OutOfMemoryError is a RuntimeError; its CPU allocator raises a
    plain one that only its text tells apart.
    """
    if isinstance(error, MemoryError | EngineOutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def is_device_lost(error: BaseException) -> bool:
    """Return whether the GPU serves this process no more after `error`.

    A kernel's fault spoils the process's context on the device: every later
    call fails too, until the process is started again.
    """
    text = str(error)
    return isinstance(error, RuntimeError) and ("CUDA error" in text or "HIP error" in text)
