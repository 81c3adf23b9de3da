"""A real worker in a process of its own."""

import subprocess

from support.processes.daemon import Daemon
from support.processes.forked_worker import ForkedWorker


class WorkerProcess(Daemon):
    """A `daiic-worker` on free ports of loopback, forked where that saves its imports."""

    def __init__(
        self, environment: dict[str, str] | None = None, *, machine: str = "", **settings: object
    ) -> None:
        """`settings` are those of the worker; `environment` is added to this process's.

        `machine` is a network namespace (`support.links.machines`) to run it in.
        """
        self._machine = machine
        free = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"}
        super().__init__("daiic-worker", environment=environment, **(free | settings))

    def _begin(self, command: list[str]) -> "subprocess.Popen[bytes] | ForkedWorker":
        if "HF_ENDPOINT" in self._environment and not self._machine:
            return super()._begin(command)
        return ForkedWorker(command[1:], self._environment, self._log.name, self._machine)

    @property
    def worker_id(self) -> str:
        """The id that it made for itself; waits until it has one."""
        return self.said(r"starting .*\bid=(\w+)")
