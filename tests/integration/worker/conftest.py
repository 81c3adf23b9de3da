"""Real heads and workers as processes, with models made on the spot."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daiic.cli.tether import tethered
from support.models import tiny_models
from support.processes.forked_worker import ForkedWorker

PATIENCE = 90.0
"""Seconds for what takes a fraction of that on an idle machine."""


class Daemon:
    """One of our daemons as a process, with its settings in a file and its log in another."""

    def __init__(self, folder: Path, program: str, environment: dict[str, str], **settings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "settings.toml"
        config.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in settings.items()))
        self.folder = folder
        self._log = folder / "log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DAIIC_", "HF_"))}
        given = {**inherited, "OMP_NUM_THREADS": "1", **environment}
        self.process: subprocess.Popen[bytes] | ForkedWorker
        if program == "daiic-worker" and "HF_ENDPOINT" not in environment:
            self._log.touch()
            self.process = ForkedWorker(config, given, self._log)
            return
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                tethered(Path(sys.executable).parent / program, "--config", config),
                stderr=log,
                stdout=log,
                env=given,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def said(self, pattern: str, patience: float = PATIENCE) -> str:
        """Wait for a line of the log that matches; return the pattern's first group."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = re.search(pattern, self.log)
            if found:
                return found.group(found.re.groups and 1)
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in the log:\n{self.log}")

    @property
    def address(self) -> str:
        return self.said(r"listen=(\S+)")

    @property
    def worker_id(self) -> str:
        return self.said(r"starting .*\bid=(\w+)")

    def resident(self) -> int:
        """Bytes of RAM in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Stop it if it runs; return its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'


Start = Callable[..., Daemon]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a language model `tiny`, a sentence model `sentences`, and `drawing`."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.language_model(folder / "tiny")
    tiny_models.sentence_model(folder / "sentences")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start daemons, `start("head")` or `start("worker", heads=[...], models_dir=...)`."""
    running: list[Daemon] = []

    def begin(kind: str, environment: dict[str, str] | None = None, **settings) -> Daemon:
        folder = tmp_path_factory.mktemp(kind)
        given = {"listen": "127.0.0.1:0", "http_listen": "", **settings}
        if kind == "worker":
            given = {"state_dir": folder / "state", "cache_dir": folder / "cache", **given}
        daemon = Daemon(folder, f"daiic-{kind}", environment or {}, **given)
        running.append(daemon)
        return daemon

    yield begin
    for daemon in reversed(running):
        daemon.end()


class NotifySocket:
    """What a daemon tells systemd; always read, as systemd does, for a full socket blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.messages: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while message := self._socket.recv(4096):
            self._new.put(message.decode())

    def wait_for(self, start: str, patience: float = PATIENCE) -> str:
        """Return the next message that begins with `start`; those before it are in `messages`."""
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            try:
                message = self._new.get(timeout=left)
            except queue.Empty:
                break
            self.messages.append(message)
            if message.startswith(start):
                return message
        raise AssertionError(f"no {start!r} in {self.messages}")

    def hears(self, start: str, seconds: float) -> bool:
        """Return whether such a message comes within `seconds`."""
        try:
            self.wait_for(start, seconds)
        except AssertionError:
            return False
        return True


@pytest.fixture
def notify(tmp_path: Path) -> NotifySocket:
    return NotifySocket(tmp_path / "notify")
