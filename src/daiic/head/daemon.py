"""`daiic-head`: the core on a socket, under systemd."""

import asyncio
import contextlib
import gc

import structlog

from daiic.head.core import Core
from daiic.head.dispatcher import Policy
from daiic.head.metrics import registry_for
from daiic.head.settings import CHANGEABLE, HeadSettings
from daiic.service.lifecycle import Lifecycle, run
from daiic.service.status_port import StatusPort
from daiic.wire.address import format_address
from daiic.wire.events import Event
from daiic.wire.keyfile import ClusterKey
from daiic.wire.udp import MeshSocket

TICK = 0.1
"""Seconds between two looks at what time demands while there are tasks."""
IDLE_TICK = 2.0
"""The same while there are none, if no worker can count as silent before."""
FAREWELL = 2.0
"""Seconds that the last answers have to be acknowledged."""

log = structlog.get_logger()


class Head:
    """A core, the socket through which it speaks, and the settings it follows."""

    def __init__(self, life: Lifecycle[HeadSettings]) -> None:
        self._life = life
        self._settings = life.settings
        self._core: Core
        self._socket: MeshSocket
        self._emptied = asyncio.Event()
        self._wake = asyncio.Event()
        self._workers = 0

    async def serve(self) -> None:
        """Serve until told to stop, then let accepted tasks finish."""
        settings = self._settings
        key = ClusterKey.load(settings.cluster_key_file) if settings.cluster_key_file else None
        self._socket = await MeshSocket.open(
            settings.listen,
            on_events=self._on_events,
            key=key,
            allow_unauthenticated=settings.allow_unauthenticated,
            validate_addresses=True,
        )
        clock = self._socket.clock
        self._core = Core(_policy(settings), self._socket, clock(), lambda: clock.paused)
        status = StatusPort(registry_for(self._core, self._socket.counters), self._why_not_ready)
        await status.open(settings.http_listen)
        self._life.on_reload(self._reload, CHANGEABLE)
        gc.freeze()  # what is there now stays: searching it again and again costs milliseconds
        self._life.ready()
        log.info(
            "serving",
            listen=format_address(self._socket.local_address),
            http_port=status.port or "none",
            key="yes" if key else "none",
        )
        ticking = asyncio.create_task(self._tick())
        watchdog = asyncio.create_task(self._life.notifier.feed_watchdog())
        await self._life.stop.wait()
        await self._drain()
        await self._socket.close(FAREWELL)
        ticking.cancel()
        watchdog.cancel()
        await status.close()

    def _on_events(self, events: list[Event]) -> None:
        now = self._socket.clock()
        for event in events:
            try:
                self._core.take(event, now)
            except Exception:  # a fault in the handling of one message must not cost the others
                log.exception("a message could not be handled; please report this")
        dispatcher = self._core.dispatcher
        # Workers that came may be due before the next tick.
        if dispatcher.jobs or len(dispatcher.workers) != self._workers:
            self._workers = len(dispatcher.workers)
            self._wake.set()
        self._note_emptied()

    async def _tick(self) -> None:
        while True:
            try:
                self._core.tick(self._socket.clock())
            except Exception:
                log.exception("a fault in the head; please report this")
            self._show()
            self._note_emptied()
            await self._until_next_tick()

    async def _until_next_tick(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            if not self._core.dispatcher.jobs:
                async with asyncio.timeout(self._idle_wait()):
                    await self._wake.wait()
            await asyncio.sleep(TICK)

    def _idle_wait(self) -> float:
        """Return for how many seconds nothing can be due."""
        heard_at = self._core.dispatcher.workers.heard_at()
        if heard_at is None:
            return IDLE_TICK
        silent_at = heard_at + self._settings.worker_timeout
        return min(max(silent_at - self._socket.clock(), 0.0), IDLE_TICK)

    def _note_emptied(self) -> None:
        if self._core.clients.closed and not self._core.dispatcher.jobs:
            self._emptied.set()

    async def _drain(self) -> None:
        timeout = self._settings.drain_timeout
        core, notifier = self._core, self._life.notifier
        dispatcher = core.dispatcher
        core.clients.closed = True
        self._note_emptied()
        notifier.stopping()
        notifier.extend(timeout + 2 * FAREWELL)
        log.info("stopping", tasks_left=len(dispatcher.jobs))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), timeout)
        if dispatcher.jobs:
            log.warning("tasks given up", tasks=len(dispatcher.jobs), drain_timeout=timeout)
            core.abandon(self._socket.clock())

    def _reload(self, settings: HeadSettings) -> None:
        self._settings = settings
        self._core.dispatcher.policy = _policy(settings)

    def _why_not_ready(self) -> str | None:
        if self._core.clients.closed:
            return "shutting down"
        return None if len(self._core.dispatcher.workers) else "no worker has registered"

    def _show(self) -> None:
        dispatcher = self._core.dispatcher
        self._life.notifier.status(
            f"{_counted(len(dispatcher.workers), 'worker')}, "
            f"{_counted(dispatcher.in_flight, 'task')} in flight, {len(dispatcher.queue)} queued"
        )


def _policy(settings: HeadSettings) -> Policy:
    return Policy(
        worker_timeout=settings.worker_timeout,
        queue_size=settings.queue_size,
        task_deadline=settings.task_deadline,
        max_attempts=settings.max_attempts,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


async def serve(life: Lifecycle[HeadSettings]) -> None:
    """Run a head until `life.stop` is set."""
    await Head(life).serve()


def main() -> None:
    """Run `daiic-head`."""
    run("daiic-head", HeadSettings, serve)
