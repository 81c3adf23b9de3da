"""Memory that this worker lends: llama.cpp's rpc-server behind a tunnel, started again if it dies.

The rpc-server serves one leader at a time; another waits until that one leaves. So it is ended,
too, when it hangs or when the way to its leader is cut: it would wait for as long as TCP does,
a quarter of an hour, and hold the memory.
"""

import asyncio
import contextlib
import resource
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address, numeric, resolve, split_host_port
from daiic.worker.child import Child
from daiic.worker.models.gguf.choice import WORK
from daiic.worker.sharding import tunnel
from daiic.worker.sharding.connections import connections
from daiic.worker.sharding.group import Lead
from daiic.worker.sharding.tunnel import Tunnel, TunnelError, free_port, listens
from daiic.worker.standstill import Standstill

PROGRAMS = ("ggml-rpc-server", "llama-rpc-server", "rpc-server")
"""As Debian, nixpkgs and llama.cpp's own build call it."""
PAUSE = 2.0
"""Seconds before it is started again."""
TICK = 1.0
HUNG = 20.0
"""Seconds without processor time while it is asked for something."""
CUT = 6
"""Packets without an answer in a row; they take 13 s, on a way of up to 0.2 s to and fro."""

log = structlog.get_logger()


def program() -> str | None:
    """Return the rpc-server's path, if it is here."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Lender:
    """Lends what is `free`, at `listen`, to those who know the secret of `lead`."""

    def __init__(
        self,
        listen: str,
        lead: Lead,
        free: Callable[[], int],
        threads: int,
        on_change: Callable[[], None],
    ) -> None:
        """`free` measures the bytes that others may take now; `on_change` tells of a new offer.

        Raises:
            SettingsError: if a program is missing that this takes.
        """
        if program() is None:
            raise SettingsError(
                f"shard = true needs one of {', '.join(PROGRAMS)}: install llama.cpp with RPC"
            )
        if tunnel.program() is None:
            raise SettingsError("shard = true needs stunnel: install it")
        self._listen = listen
        self._lead = lead
        self._free = free
        self._threads = threads
        self._on_change = on_change
        self._server: Child | None = None
        self._address = ""

    @property
    def held(self) -> int:
        """Bytes that the rpc-server holds now, for others."""
        return self._server.bytes if self._server is not None and self._server.alive else 0

    def offer(self) -> pb.ShardOffer | None:
        """Return what heartbeats tell of it; `None` while nothing is lent.

        What running a model takes beside its weights and context is not offered.
        """
        if not self._address:
            return None
        return pb.ShardOffer(
            address=self._address,
            bytes=max(self._free() - WORK, 0),
            links=self._lead.links.values(),
        )

    async def run(self, head: str) -> None:
        """Lend until this is cancelled; the way to `head` tells which address is this machine's."""
        while True:
            try:
                await self._serve(head)
            except (TunnelError, OSError) as error:
                log.error("no memory is lent", reason=str(error))
            self._address = ""
            self._on_change()
            await asyncio.sleep(PAUSE)

    async def _serve(self, head: str) -> None:
        path = program()
        if path is None:
            raise TunnelError("the rpc-server is gone")
        host, port = split_host_port(self._listen)
        listen = self._listen if port else format_address((host, free_port()))
        inside = free_port()
        server = self._server = await Child.start(
            "rpc-server",
            [path, "--host", "127.0.0.1", "--port", str(inside), "--threads", str(self._threads)],
            {"GGML_NO_BACKTRACE": "1"},
        )
        front: Tunnel | None = None
        try:
            if not await listens(inside, server):
                raise TunnelError(f"the rpc-server does not listen: {server.last_words()}")
            front = await Tunnel.accept(listen, inside, self._lead.secret)
            self._address = await _reachable(listen, head)
            self._on_change()
            log.info("lending memory", listen=listen, address=self._address)
            outside, idle = split_host_port(listen)[1], Standstill()
            while not (why := _fault(server, front, inside, outside, idle)):
                _allow(server.pid, self._free())
                await asyncio.sleep(TICK)
            log.error("what lends memory has ended", reason=why)
            server.send(signal.SIGKILL)
        finally:
            self._server = None
            if front is not None:
                await front.close()
            await server.close()


def _fault(server: Child, front: Tunnel, inside: int, outside: int, idle: Standstill) -> str:
    """Return why no more can be lent by these, empty if it can; `inside` is the server's port."""
    if not server.alive:
        return f"rpc-server: {server.last_words()}"
    if not front.child.alive:
        return f"stunnel: {front.child.last_words()}"
    leaders = connections(inside)
    if not any(one.unread for one in leaders):
        idle.step()
    elif idle.look(server.processor_seconds) > HUNG:
        return f"the rpc-server has done nothing for {HUNG:g} s, though it is asked"
    if leaders and any(one.unanswered >= CUT for one in connections(outside)):
        return "the way to the leader is cut"
    return ""


async def _reachable(listen: str, head: str) -> str:
    """Return the address under which others reach `listen`: that from which `head` is reached."""
    address = numeric(listen)
    if address is not None and address[0] not in ("0.0.0.0", "::"):
        return listen
    to = await resolve(head)
    with socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(to)
        return format_address((s.getsockname()[0], split_host_port(listen)[1]))


def _allow(process: int, more: int) -> None:
    """Let `process` allocate `more` bytes from now on, and nothing beyond."""
    with contextlib.suppress(OSError, ValueError, StopIteration):  # it may have ended
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        has = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
        _, most = resource.prlimit(process, resource.RLIMIT_DATA)
        resource.prlimit(process, resource.RLIMIT_DATA, (has + max(more, 0), most))
