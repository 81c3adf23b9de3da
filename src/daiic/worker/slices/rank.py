"""A rank as its worker sees it: a child process, and a private socket to it."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from daiic.worker.child import Child
from daiic.worker.slices import frames
from daiic.worker.slices.frames import BEGIN, packed
from daiic.worker.slices.messages import Begin

PROGRAM = "daiic.worker.slices.process"
PATIENCE = 300.0
"""Seconds until it must have called; it imports torch before."""


class Rank:
    """One rank; it has ended when `said` has."""

    def __init__(
        self,
        child: Child,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.child = child
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, begin: Begin, interface: str) -> "Rank":
        """Start a rank that meets the others on `interface` alone.

        Raises:
            OSError: if that cannot be done.
        """
        place = Path(tempfile.mkdtemp(prefix="daiic-rank-"))  # only this user can enter it
        called: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.get_running_loop().create_future()
        )

        def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if called.done():
                writer.close()
            else:
                called.set_result((reader, writer))

        child: Child | None = None
        try:
            server = await asyncio.start_unix_server(on_call, place / "socket")
            async with server:
                child = await Child.start(
                    "rank",
                    [sys.executable, "-P", "-m", PROGRAM, str(place / "socket")],
                    {
                        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                        "GLOO_SOCKET_IFNAME": interface,
                        "NCCL_SOCKET_IFNAME": f"={interface}",
                        "HF_HUB_OFFLINE": "1",
                    },
                )
                ended = asyncio.ensure_future(child.ended())
                waiting: set[asyncio.Future[Any]] = {called, ended}
                try:
                    await asyncio.wait(
                        waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    ended.cancel()
                if not called.done():
                    raise OSError(f"the rank does not start: {child.last_words()}")
                reader, writer = called.result()
            writer.write(packed(BEGIN, msgspec.json.encode(begin)))
            return cls(child, reader, writer)
        except BaseException:
            if child is not None:
                await child.close()
            raise
        finally:
            # Nobody else is to call, and nothing is left if this process is killed.
            shutil.rmtree(place, ignore_errors=True)

    async def said(self) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Yield each frame that it says, as kind and content, until it is gone."""
        with contextlib.suppress(EOFError, OSError, frames.FrameError):
            while True:
                yield await frames.read(self._reader)

    def say(self, kind: bytes, content: bytes) -> None:
        """Say something to it, if it is still there."""
        if not self._writer.is_closing():
            self._writer.write(packed(kind, content))

    @property
    def bytes(self) -> int:
        """Memory that it holds."""
        return self.child.bytes if self.child.alive else 0

    def ending(self) -> str:
        """Return how it has ended, for people."""
        code = self.child.returncode
        if code is not None and code < 0:
            return f"its process was ended by signal {-code}"
        return f"its process has ended: {self.child.last_words()}"

    async def close(self) -> None:
        """End it."""
        self._writer.close()
        self.child.send(9)  # it may wait for others for ever
        await self.child.close()
