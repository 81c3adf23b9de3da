"""A child that cannot outlive its parent, however the parent ends.

`tethered` makes the command line. Run as a program, this file asks the kernel to send it a signal
when its parent is gone (PR_SET_PDEATHSIG), and becomes the command, which keeps its process id.
The tether does not reach grandchildren: a child that starts some has to tether them itself.
"""

import ctypes
import os
import sys
from signal import SIGKILL

TYPE_CHECKING = False  # as type checkers know it; `typing` takes longer to import than all else
if TYPE_CHECKING:
    from pathlib import Path
    from signal import Signals

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def tethered(*command: "str | Path", number: "Signals" = SIGKILL) -> list[str]:
    """Return the command line that runs `command` until this process ends, by `number` then.

    The process must be started in the main thread: the kernel watches the thread.
    """
    launcher = [sys.executable, "-I", "-S", __file__]
    return [*launcher, str(os.getpid()), str(int(number)), *map(str, command)]


def end_with(parent: int, number: int = SIGKILL) -> None:
    """Let the kernel end this process, by `number`, when its parent is gone.

    Raises:
        SystemExit: if it is gone already.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # It may have ended before it was watched.
    if os.getppid() != parent:
        sys.exit(f"process {parent} has ended, so this one does too")


def main() -> None:
    """Become the command; the arguments are the parent's id, the signal, and the command."""
    parent, number, *command = sys.argv[1:]
    end_with(int(parent), int(number))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
