"""The program that runs GGUF files on this worker: which, with what options, on which cards."""

import asyncio
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import structlog

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.asking import said_by
from daiic.worker.engines.llama_cpp.devices import PROGRAM, Device, parsed
from daiic.worker.engines.llama_cpp.program import Options

WHEEL = "xllamacpp"
LAUNCHER = "daiic.worker.engines.llama_cpp.wheel"
PATIENCE = 60.0
"""Seconds that a program has to tell its options, or its cards, for which it starts drivers."""
MOST = 1 << 20
"""Bytes of that."""

Key = tuple[str, int, int, str]

log = structlog.get_logger()


class LlamaServer:
    """The llama-server that the settings name, else that on PATH, else the one in PyPI's wheel.

    What it says of itself is asked once, until the file is another.
    """

    def __init__(self, named: str = "") -> None:
        """`named` is a path or a command, "" for none."""
        self._named = str(Path(named).expanduser()) if named.startswith("~") else named
        self._said: dict[Key, str] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def path(self) -> str | None:
        """Where the program is; `None` if there is none but maybe the wheel's."""
        return shutil.which(self._named or PROGRAM)

    @property
    def is_there(self) -> bool:
        """Whether there is what runs GGUF files."""
        return self.path is not None or (not self._named and find_spec(WHEEL) is not None)

    async def devices(self) -> list[Device]:
        """Return the cards that it can compute on; none if there is no program, or it hangs."""
        program = self.path
        if program is None:
            return []
        try:
            return parsed(await self._asked(program, "--list-devices"))
        except TimeoutError:
            log.warning("llama-server does not tell which cards there are", patience=PATIENCE)
            return []
        except OSError:
            return []

    async def command(self, options: Options) -> list[str]:
        """Return what starts a server with `options`.

        Raises:
            TaskError: UNSUPPORTED if there is none, or not with what `options` need.
        """
        program = self.path
        if program is not None:
            known = await self._options(program)
            if options.endpoints and "--rpc" not in known:
                raise _no_rpc()
            return [program, *options.arguments(known)]
        if options.endpoints:
            raise _no_rpc()
        if self.is_there:
            return [sys.executable, "-m", LAUNCHER, *options.arguments()]
        raise TaskError(
            pb.UNSUPPORTED,
            f"there is no {self._named or PROGRAM} on this worker, which runs GGUF files",
            "correct the worker's setting llama_server"
            if self._named
            else f"install llama.cpp, or `pip install {WHEEL}`",
        )

    async def _options(self, program: str) -> frozenset[str]:
        """Return the long options that it knows; they differ between builds of llama.cpp."""
        try:
            said = await self._asked(program, "--help")
        except TimeoutError:
            raise TaskError(
                pb.UNSUPPORTED,
                f"`{program} --help` took more than {PATIENCE:g} s",
                "install llama.cpp again",
            ) from None
        return frozenset(re.findall(r"--[a-z][a-z0-9-]+", said))

    async def _asked(self, program: str, argument: str) -> str:
        key = (*_version(program), argument)
        async with self._one_at_a_time:
            if key not in self._said:
                others = {k: said for k, said in self._said.items() if k[:3] == key[:3]}
                said = await said_by(program, argument, most=MOST, patience=PATIENCE)
                self._said = others | {key: said}
            return self._said[key]


def _version(program: str) -> tuple[str, int, int]:
    found = Path(program).stat()
    return program, found.st_mtime_ns, found.st_size


def _no_rpc() -> TaskError:
    return TaskError(
        pb.UNSUPPORTED,
        f"this worker has no {PROGRAM} with RPC, which models of several machines take",
        "install llama.cpp with RPC",
    )
