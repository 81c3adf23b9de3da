"""The socket that systemd gives a daemon in NOTIFY_SOCKET."""

import asyncio
import socket
import threading
from pathlib import Path

from support.processes.daemon import LOOK, PATIENCE


class NotifySocket:
    """Collects what a daemon tells systemd, a line each, in `said`.

    It is always read, as systemd does, for a full socket blocks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self.said.extend(message.decode().splitlines())

    async def hears(self, start: str, patience: float = PATIENCE) -> str:
        """Return the first line in `said` that begins with `start`; wait until there is one.

        Raises:
            TimeoutError: if none comes in time.
        """
        async with asyncio.timeout(patience):
            while not (found := [line for line in self.said if line.startswith(start)]):
                await asyncio.sleep(LOOK)
        return found[0]

    def forget(self) -> None:
        """Forget what was said so far."""
        self.said.clear()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._socket.close()
