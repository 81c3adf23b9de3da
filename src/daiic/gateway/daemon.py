"""The gateway's process: starts, serves, and at the end lets open requests finish."""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from daiic.client import ClusterClient
from daiic.gateway.app import build
from daiic.gateway.bench.store import BenchStore
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.api_keys import ApiKeysError, KeyFile
from daiic.gateway.http.connection import Connection, limit_unread
from daiic.gateway.http.connection_limit import ConnectionLimit
from daiic.gateway.http.rate_limits import RateLimits
from daiic.gateway.http.revocation import Revocation
from daiic.gateway.limits import (
    BACKLOG,
    CONNECTIONS,
    HEADER_PATIENCE,
    KEEP_ALIVE,
    UNREAD_PATIENCE,
)
from daiic.gateway.monitoring.activity import ActivityLog
from daiic.gateway.monitoring.cards import CardCollector
from daiic.gateway.monitoring.cluster_stream import ClusterStream
from daiic.gateway.monitoring.cluster_view import ClusterView
from daiic.gateway.openai.errors import error_body
from daiic.gateway.settings import CHANGEABLE, GatewaySettings
from daiic.gateway.usage.ledger import Ledger
from daiic.gateway.usage.metered_cluster import MeteredCluster
from daiic.gateway.usage.store import UsageStore
from daiic.service import lifecycle
from daiic.service.settings import SettingsError
from daiic.service.status_port import StatusPort
from daiic.wire.address import is_loopback, resolve
from daiic.wire.keyfile import ClusterKey

RESERVED_FILES = 128
"""File descriptors that connections leave for everything else."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """uvicorn without its signal handlers and ten looks a second at whether to end.

    `accepting` is set once it listens.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more connections, and let open requests finish."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        # What it does at 0, and every second: answers say what time it is.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(life: lifecycle.Lifecycle[GatewaySettings]) -> None:
    """Run the gateway until `life.stop` is set."""
    settings = life.settings
    keys = _open_keys(settings)
    listener = await _bind(settings, keys)
    local = is_loopback(listener.getsockname())
    cluster_key = ClusterKey.load(settings.cluster_key_file) if settings.cluster_key_file else None
    registry = CollectorRegistry()
    async with ClusterClient(
        settings.heads, cluster_key, allow_unauthenticated=settings.allow_unauthenticated
    ) as cluster:
        view = ClusterView(cluster)
        registry.register(CardCollector(view))
        benches = BenchStore(settings.state_dir)
        benches.load()
        usage = Ledger(UsageStore(settings.state_dir, settings.usage_days), view, registry)
        usage.load()
        rate_limits = RateLimits(settings.key_limits, usage.used_today)
        gateway = Gateway(
            settings,
            MeteredCluster(cluster, rate_limits),
            view,
            ActivityLog(registry, view),
            benches,
            usage,
        )

        def why_not_ready() -> str | None:
            return "the gateway is stopping" if life.stop.is_set() else view.why_not_ready()

        cluster_stream = ClusterStream(gateway, error_body)

        def reload(fresh: GatewaySettings) -> None:
            gateway.settings = fresh
            rate_limits.change(fresh.key_limits)

        life.on_reload(reload, CHANGEABLE)
        revocation = Revocation(keys) if keys else None
        login = None
        if settings.oidc_issuer:
            # Imported here: what it takes is slow to import, and most gateways have no login.
            from daiic.gateway.login.opening import open_login

            login = open_login(settings)
        app = build(
            gateway,
            cluster_stream,
            revocation,
            login,
            rate_limits,
            why_not_ready,
            only_local_names=local and keys is None and login is None,
        )
        # uvicorn declares a class here, but only calls it.
        connection: Any = partial(
            Connection,
            header_patience=min(HEADER_PATIENCE, settings.request_timeout),
            connection_limit=ConnectionLimit(_allow_many_connections()),
            format_error=error_body,
        )
        server = Server(
            uvicorn.Config(
                app,
                http=connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
            )
        )
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        port = StatusPort(registry, why_not_ready)
        await port.open(settings.http_listen)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(view.follow()),
                group.create_task(usage.follow()),
                group.create_task(_tell_systemd(life, gateway)),
                group.create_task(life.notifier.feed_watchdog()),
            ]
            if revocation is not None:
                background.append(group.create_task(revocation.follow()))
            serving = group.create_task(server.serve([listener]))
            await server.accepting.wait()
            host, number = listener.getsockname()[:2]
            log.info("serving", address=f"http://{f'[{host}]' if ':' in host else host}:{number}/")
            life.ready()
            await life.stop.wait()
            life.notifier.stopping()
            life.notifier.extend(settings.drain_timeout + 5)
            log.info("stopping", open_requests=len(gateway.activity))
            server.end()
            await cluster_stream.close()
            await serving
            for task in background:
                task.cancel()
        await usage.close()
        if login is not None:
            await login.close()
        await port.close()


def _open_keys(settings: GatewaySettings) -> KeyFile | None:
    if not settings.api_keys_file:
        return None
    keys = KeyFile(settings.api_keys_file)
    try:
        keys.load()
    except ApiKeysError as error:
        raise SettingsError(str(error)) from None
    return keys


async def _bind(settings: GatewaySettings, keys: KeyFile | None) -> socket.socket:
    address = await resolve(settings.listen)
    guarded = keys is not None or settings.oidc_issuer
    if not guarded and not is_loopback(address) and not settings.allow_keyless_public:
        raise SettingsError(
            f"refusing to listen on {settings.listen} without API keys: anyone who can reach it "
            "could use this cluster. Set api_keys_file (`daiic apikey create` makes keys), listen "
            "on 127.0.0.1, or set allow_keyless_public if the network is trusted"
        )
    listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        limit_unread(listener, min(UNREAD_PATIENCE, settings.request_timeout))
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _allow_many_connections() -> int:
    """Raise the limit on open files as far as it goes; return how many connections may be open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return (
        CONNECTIONS if most == resource.RLIM_INFINITY else min(CONNECTIONS, most - RESERVED_FILES)
    )


async def _tell_systemd(life: lifecycle.Lifecycle[GatewaySettings], gateway: Gateway) -> None:
    async for _ in gateway.view.updates():
        status = gateway.view.status
        if status is None:
            text = gateway.view.why_not_ready() or ""
        else:
            text = (
                f"{len(gateway.activity)} requests running; {len(status.workers)} workers, "
                f"{len(gateway.view.usable)} models, {status.queued} tasks queued"
            )
        life.notifier.status(text)


def main() -> None:
    """Run `daiic-gateway`."""
    lifecycle.run("daiic-gateway", GatewaySettings, serve)


if __name__ == "__main__":
    main()
