"""Telling a lack of memory, and a device that is lost, from other failures."""

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
