"""Runs a command, and ends every process that has come of it when either of them ends.

vLLM computes in grandchildren, which go on, and hold the cards, when it is killed. This process
adopts what is orphaned below it, so that all of it can be found. It is run by its path and imports
nothing of ours.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGABRT)
PATIENCE = 8.0
"""Seconds that the command has to end by itself."""
ROUNDS = 50
"""Looks for processes that are left; each may have started one more before it was killed."""


def main() -> None:
    """Run the command in the arguments, and end as it did."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    for number in ENDING:
        signal.signal(number, _told)
    try:
        process = subprocess.Popen(sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    status = 1
    try:
        status = _wait(process)
    except _Told as told:
        if told.number != signal.SIGABRT:
            status = _end(process)
    _deafen()
    _kill_descendants()
    if status < 0:  # killed for want of memory, for example: whoever watches should see that
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(abs(status))


class _Told(BaseException):
    """A signal has come."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _told(number: int, _: object) -> None:
    _deafen()  # a second signal would end this process before those below it
    raise _Told(number)


def _deafen() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """Return the command's status; orphans that end meanwhile are buried."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            return os.waitstatus_to_exitcode(status)


def _end(process: "subprocess.Popen[bytes]") -> int:
    process.terminate()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if pid == process.pid:
            break
        if not pid:
            time.sleep(0.05)
    return 0


def _kill_descendants() -> None:
    for _ in range(ROUNDS):
        left = _descendants()
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.05)


def _descendants() -> list[int]:
    """Return all processes below this one."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                parent = int((place / "stat").read_bytes().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(place.name))
    found: list[int] = []
    left = [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


if __name__ == "__main__":
    main()
