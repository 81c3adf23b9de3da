"""A program that runs for the worker, and ends with it."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from signal import SIGKILL, Signals

import psutil
import structlog

from daiic.shown import shown
from daiic.tether import tethered

log = structlog.get_logger()

PATIENCE = 10.0
"""Seconds that it has to end."""
MAX_LINE = 1 << 16
"""Bytes of a line that it writes; longer ones are left out."""
SHOWN = 300
"""Characters of a line in the log and in errors."""
LINES = 40
KEPT = (
    *("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "TZ"),
    *("XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
)
"""What it needs of the worker's environment; tokens and keys are none of its business."""
KEPT_OF = (
    *("CUDA_", "GGML_", "GOMP_", "GPU_", "HIP_", "HSA_", "LC_", "NVIDIA_", "OMP_", "ROCR_"),
    "VK_",
)
"""Those begin so that choose and tune cards, drivers and threads."""
SPINS = "GOMP_SPINCOUNT"
PATIENT_THREADS = {SPINS: "1000"}
"""How often OpenMP's threads look for each other before they sleep. By default they look for
milliseconds, each time a model's layer has been computed, and where other programs want the
processors too, they hold up the very thread that they wait for. To sleep at once costs a quiet
machine a third of its speed. docs/decisions.md has the figures."""
POLICY = "OMP_WAIT_POLICY"


def environment() -> dict[str, str]:
    """Return what programs get of this process's environment.

    PATIENT_THREADS are added unless it says how threads wait.
    """
    kept = {
        key: value for key, value in os.environ.items() if key in KEPT or key.startswith(KEPT_OF)
    }
    return kept if POLICY in kept or SPINS in kept else PATIENT_THREADS | kept


class Child:
    """The process, and the last that it wrote to its standard error."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, lines: int = LINES) -> None:
        self._name = name
        self._process = process
        self._said: deque[str] = deque(maxlen=lines)
        self._seen: psutil.Process | None = None
        self._reader = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        more: Mapping[str, str] | None = None,
        ending: Signals = SIGKILL,
        lines: int = LINES,
    ) -> "Child":
        """Start `command`, in the main thread; `name` is for people.

        Its environment has `more` than `environment`. It gets the signal `ending` when this
        process is gone. So many `lines` of what it says are kept.

        Raises:
            OSError: if no process can be started; a program that is missing shows as its end.
        """
        return cls(
            name,
            await asyncio.create_subprocess_exec(
                *tethered(*command, number=ending),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                env=environment() | dict(more or {}),
            ),
            lines,
        )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    @property
    def returncode(self) -> int | None:
        """Its exit status, or the signal that ended it as a negative number."""
        return self._process.returncode

    @property
    def bytes(self) -> int:
        """Memory that it holds now, with what it has mapped of files and looked at."""
        try:
            return int(self._look().memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def processor_seconds(self) -> float:
        """Processor time that it has taken so far."""
        try:
            times = self._look().cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def _look(self) -> psutil.Process:
        """Return the process as psutil sees it, which costs more than what is asked of it then.

        Raises:
            psutil.NoSuchProcess: if it has ended.
        """
        if not self.alive:
            raise psutil.NoSuchProcess(self._process.pid)
        if self._seen is None:
            self._seen = psutil.Process(self._process.pid)
        return self._seen

    @property
    def said(self) -> Sequence[str]:
        """The last lines that it wrote; all, once it has `ended`."""
        return tuple(self._said)

    def last_words(self) -> str:
        """Return the last error that it wrote, or else the last line, safe to be shown."""
        errors = [line for line in self._said if " E " in line or "error" in line.lower()]
        return shown((errors or list(self._said) or ["it said nothing"])[-1], SHOWN)

    def lacked_memory(self, signs: Iterable[str]) -> bool:
        """Return whether memory was what ended it: it was killed, or wrote one of `signs`.

        The signs are in small letters; it may have written them in others.
        """
        killed = self.returncode == -SIGKILL
        return killed or any(sign in line.lower() for line in self._said for sign in signs)

    async def ended(self) -> None:
        """Wait until it has ended and everything is read that it wrote."""
        await self._process.wait()
        await self._reader

    async def close(self) -> None:
        """End it, at the latest after PATIENCE seconds."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), PATIENCE)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
        await self.ended()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than anybody wants to read
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").strip()
            self._said.append(text)
            log.debug("said by a child", program=self._name, line=shown(text, SHOWN))
