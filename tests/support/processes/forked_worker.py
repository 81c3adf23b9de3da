"""Workers forked from a process that has imported already what all of them import.

That takes a worker six seconds of a processor, and is the most that a test of it would cost. What
is forked is a process like any other; tests of what the imports look at (HF_ENDPOINT) start the
program itself.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from daiic.tether import end_with
from daiic.worker import daemon
from support.links.machines import enter

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["support.processes.worker_imports"])


class ForkedWorker:
    """A `daiic-worker`, as `subprocess.Popen` would start it."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], log: str, machine: str = ""
    ) -> None:
        """`machine` is a network namespace to work in."""
        tests = str(Path(__file__).parents[2])
        outside = dict(os.environ)
        # Only the first one starts the process that is forked, with what is set here.
        os.environ.clear()
        os.environ.update(environment | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": tests})
        try:
            self._process = _forks.Process(
                target=_work, args=(arguments, environment, log, machine)
            )
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(outside)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, if it has ended."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its exit status."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("daiic-worker", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.send_signal(signal.SIGKILL)


def _work(arguments: list[str], environment: dict[str, str], log: str, machine: str) -> None:
    end_with(os.getppid())
    if machine:
        enter(machine)
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["daiic-worker", *arguments]
    sys.exit(daemon.main())
