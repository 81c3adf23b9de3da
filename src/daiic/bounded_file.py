"""Reading a file that somebody else wrote: a regular one, and no more than so many bytes of it."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def read_bounded(path: Path, most: int) -> bytes:
    """Return the content of `path`, at most `most` bytes; never waits for a pipe or a device.

    Raises:
        OSError: with a `strerror` for people, if there is no such file, if it
            cannot be read, is none that can be named, not a regular file, or larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {_amount(most)}")
    return content


def open_regular(path: Path) -> BinaryIO:
    """Open `path` for reading; never waits for a pipe or a device.

    Raises:
        OSError: as `read_bounded`, but for the size.
    """
    try:
        # A pipe or a device is not even opened: that alone may block, or move a tape.
        _check_regular(path.stat())
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a null character, or half of a surrogate pair
        raise OSError(errno.EINVAL, "no file can have this name") from None
    file = os.fdopen(descriptor, "rb")
    try:
        _check_regular(os.fstat(descriptor))
    except OSError:
        file.close()
        raise
    return file


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _amount(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
