"""Telling a lack of memory from other failures."""

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out, on a GPU or in RAM.

    torch's OutOfMemoryError is a RuntimeError; its CPU allocator raises a
    plain one that only its text tells apart.
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)
