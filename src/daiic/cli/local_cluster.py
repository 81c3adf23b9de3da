"""A whole cluster as processes of this machine, for `daiic demo`, which they do not outlive."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daiic.tether import tethered

STOP_TIMEOUT = 10.0
LOG_TAIL = 15


class DaemonDied(Exception):
    """A daemon of the cluster ended by itself; the message holds the end of its log."""


@dataclass(slots=True)
class Daemon:
    """A running daemon and where its log goes."""

    name: str
    process: asyncio.subprocess.Process
    log: Path


class LocalCluster:
    """Starts the daemons that are installed beside `daiic` and stops them again."""

    def __init__(self, state: Path) -> None:
        """Logs and state go below `state`."""
        self._state = state
        self._daemons: list[Daemon] = []

    async def start(self, program: str, name: str, flags: Sequence[str]) -> None:
        """Start `program` as the daemon `name`.

        Raises:
            FileNotFoundError: if it is not installed, with what to do.
        """
        log = self._state / f"{name}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *tethered(_installed(program), *flags),
                stdout=file,
                stderr=file,
                stdin=asyncio.subprocess.DEVNULL,
                # Not in the terminal's group: Ctrl-C is for us, we stop them in order.
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("DAIIC_")},
            )
        self._daemons.append(Daemon(name, process, log))

    def check(self) -> None:
        """Raise if a daemon has ended.

        Raises:
            DaemonDied: with the end of its log.
        """
        for daemon in self._daemons:
            if daemon.process.returncode is not None:
                lines = daemon.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
                raise DaemonDied(
                    f"{daemon.name} ended with status {daemon.process.returncode}:\n"
                    + "\n".join(lines)
                )

    async def died(self) -> None:
        """Wait until a daemon ends by itself, and raise.

        Raises:
            DaemonDied: with the end of its log.
        """
        waits = [asyncio.ensure_future(daemon.process.wait()) for daemon in self._daemons]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self.check()

    def kill(self) -> None:
        """End the daemons at once."""
        for daemon in self._daemons:
            if daemon.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    daemon.process.kill()

    async def stop(self) -> None:
        """Stop the daemons, the last one started first; kill what does not stop in time."""
        for daemon in reversed(self._daemons):
            if daemon.process.returncode is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                daemon.process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(daemon.process.wait(), STOP_TIMEOUT)
                except TimeoutError:
                    daemon.process.kill()
                    await daemon.process.wait()


BUILT = {"hydramesh": Path(__file__).parents[2] / "hydramesh" / "build" / "hydramesh"}
"""Where a checkout has the programs that make builds, as `make NAME`."""


def _installed(program: str) -> str:
    beside = Path(sys.argv[0]).resolve().parent
    places = (str(beside), os.environ.get("PATH", ""))
    found = shutil.which(program, path=os.pathsep.join(places))
    built = BUILT.get(program)
    if found is None and built is not None:
        found = shutil.which(built)
    if found is None:
        advice = f"build it with `make {program}`, or install it" if built else "install it"
        raise FileNotFoundError(f"{program} is neither beside daiic nor in PATH: {advice}")
    return found


def free_port(kind: socket.SocketKind, preferred: int) -> int:
    """Return `preferred` if nothing listens there on loopback, else a port that is free."""
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
