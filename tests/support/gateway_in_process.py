"""A gateway without processes or sockets: its real HTTP connections and application, on transports
that a test feeds byte by byte, before a cluster that answers as a test scripts it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial

import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from daiic.client import ClusterClient
from daiic.gateway.app import build
from daiic.gateway.bench.store import BenchStore
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.http.connection import Connection
from daiic.gateway.http.connection_limit import ConnectionLimit
from daiic.gateway.http.rate_limits import RateLimits
from daiic.gateway.http.revocation import Revocation
from daiic.gateway.limits import CONNECTIONS, KEEP_ALIVE
from daiic.gateway.monitoring.activity import ActivityLog
from daiic.gateway.monitoring.cluster_stream import ClusterStream
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.gateway.openai.errors import error_body
from daiic.gateway.settings import GatewaySettings
from daiic.gateway.usage.ledger import Ledger
from daiic.gateway.usage.metered_cluster import MeteredCluster
from daiic.gateway.usage.store import UsageStore
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import Script, echo, one_worker

READ = 65536
"""Bytes that a socket would give at once."""


class ScriptedCluster(ClusterClient):
    """The client of a cluster that is not there: `script` answers every task."""

    def __init__(self) -> None:
        super().__init__(["127.0.0.1:1"])
        self.script: Script = echo
        self.now = one_worker()
        self.tasks: list[pb.Task] = []

    async def bursts(self, task: pb.Task) -> AsyncGenerator[list[pb.Result], None]:
        if task.WhichOneof("work") == "status":
            yield [pb.Result(final=True, status=self.now)]
            return
        # What the wire could not carry must not get this far.
        self.tasks.append(pb.Task.FromString(task.SerializeToString()))
        async for part in self.script(task):
            part.worker_id = "w1"
            yield [part]


class Wire(asyncio.Transport):
    """The transport of one connection; `sent` is what the client has got."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.ended = False
        self.reading = True
        self._closing = False
        self._protocol: asyncio.Protocol | None = None

    def connect(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: object = None) -> object:
        ends = {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 7700)}
        return ends.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing and not self.ended:
            self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def over(self) -> bool:
        """Whether the client gets nothing more."""
        return self._closing or self.ended


class GatewayInProcess:
    """Make it inside a running event loop."""

    def __init__(
        self,
        *,
        keys: KeyFile | None = None,
        most_connections: int = CONNECTIONS,
        header_patience: float = 30.0,
        only_local_names: bool = False,
        settings: GatewaySettings | None = None,
    ) -> None:
        settings = settings or GatewaySettings()
        self.cluster = ScriptedCluster()
        self.view = ClusterView(self.cluster)
        self.view.update(self.cluster.now)
        registry = CollectorRegistry()
        self.usage = Ledger(UsageStore("", settings.usage_days), self.view, registry)
        self.usage.load()
        rate_limits = RateLimits(settings.key_limits, self.usage.used_today)
        gateway = Gateway(
            settings,
            MeteredCluster(self.cluster, rate_limits),
            self.view,
            ActivityLog(registry, self.view),
            BenchStore(""),
            self.usage,
        )
        self.app = build(
            gateway,
            ClusterStream(gateway, error_body),
            Revocation(keys) if keys else None,
            None,
            rate_limits,
            self.view.why_not_ready,
            only_local_names=only_local_names,
        )
        self.connection_limit = ConnectionLimit(most_connections)
        self._connection: Callable[..., Connection] = partial(
            Connection,
            header_patience=header_patience,
            connection_limit=self.connection_limit,
            format_error=error_body,
        )
        self._config = uvicorn.Config(
            self.app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        self.state = ServerState()

    def connect(self) -> tuple[Connection, Wire]:
        """Open one more connection."""
        connection = self._connection(config=self._config, server_state=self.state, app_state={})
        wire = Wire()
        wire.connect(connection)
        return connection, wire

    async def talk(self, pieces: Iterable[bytes]) -> tuple[int, bytes]:
        """Send `pieces` for as long as the gateway takes them, then hang up.

        Returns how many bytes it took and what it answered.
        """
        connection, wire = self.connect()
        taken = 0
        for piece in pieces:
            for start in range(0, len(piece), READ):
                while not wire.reading and not wire.over:
                    await self.settle()
                if wire.over:
                    break
                part = piece[start : start + READ]
                connection.data_received(part)
                taken += len(part)
            await asyncio.sleep(0)
        await self.settle()
        wire.close()
        await self.settle()
        return taken, bytes(wire.sent)

    async def settle(self, turns: int = 1000) -> None:
        """Let what runs go on until it waits for something from outside."""
        for _ in range(turns):
            await asyncio.sleep(0)
            if not self.state.tasks:
                break
        await asyncio.sleep(0)
