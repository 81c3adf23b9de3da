"""Processes that work on what others wrote: how they are started, and how they confine themselves.

Such a process is run by its path, and imports little, so that it starts fast and stays small.
"""

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path

KEPT = ("TZ", "LD_LIBRARY_PATH", "PYTHONHOME")
"""What such a process needs of the worker's environment: tokens and keys are none of its
business."""


def command(script: str, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs the Python file `script`, and its environment."""
    line = [sys.executable, "-S", "-P", "-W", "ignore", script, *map(str, arguments)]
    # Where packages are, since -S leaves their places out.
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return line, path | {key: os.environ[key] for key in KEPT if key in os.environ}


def confine(memory: int) -> None:
    """Let this process open, start and write nothing any more, and have `memory` bytes at most.

    To be called in its first thread.
    """
    # The worker ends this process; a signal to all processes of a unit or a terminal does not.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # /proc may not be there
        # Where memory is short, this process is the one to be ended.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
