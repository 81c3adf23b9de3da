"""`daiic-worker`: a node on a socket, under systemd."""

import asyncio
import importlib
import os
import sys
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from daiic.background import in_thread
from daiic.service.lifecycle import Lifecycle, run
from daiic.service.settings import SettingsError
from daiic.service.status_port import StatusPort
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.events import Event
from daiic.wire.keyfile import ClusterKey
from daiic.wire.udp import MeshSocket
from daiic.worker.cables import use_cables
from daiic.worker.cards.selection import visible
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.vllm.program import check_there
from daiic.worker.identity import identify
from daiic.worker.metrics import Statistics
from daiic.worker.settings import CHANGEABLE, WorkerSettings, read_hf_token
from daiic.worker.status_line import status_line

if TYPE_CHECKING:
    from daiic.worker.assembly import Worker
    from daiic.worker.node import Node

PATIENCE = 120.0
"""Seconds that a step of a load may take, while starting, before systemd takes it for hung."""
TICK = 1.0
IDLE_TICK = 2.0
"""While no tasks run."""
STARTING_TICK = 0.1
"""While models of the settings load: systemd is told of small ones too."""
RESCAN = 30.0
"""Seconds between looks at which models are on the disk."""
FAREWELL = 2.0
"""Seconds that the last answers have to be acknowledged, and then engines to close."""

log = structlog.get_logger()


class Daemon:
    """A worker from its first to its last moment."""

    def __init__(self, life: Lifecycle[WorkerSettings]) -> None:
        self._life = life
        self._settings = life.settings
        self._node: Node | None = None
        self._fault: BaseException | None = None
        self._is_ready = False

    async def serve(self) -> None:
        """Serve until told to stop, then let running tasks finish."""
        settings, notifier = self._settings, self._life.notifier
        notifier.status("starting: importing torch")
        token = read_hf_token(settings)
        if settings.engine == "vllm":
            check_there()
        os.environ.update(await in_thread(lambda: visible(settings.gpus, settings.backend)))
        identity = identify(settings.state_dir, settings.name)
        key = ClusterKey.load(settings.cluster_key_file) if settings.cluster_key_file else None
        socket = await MeshSocket.open(
            settings.listen,
            on_events=self._on_events,
            key=key,
            allow_unauthenticated=settings.allow_unauthenticated,
            validate_addresses=True,
        )
        statistics = Statistics()
        if settings.usb4_enabled:
            use_cables(socket, key, settings.allow_unauthenticated, statistics)
        port = StatusPort(statistics.registry, self._why_not_ready)
        await port.open(settings.http_listen)
        log.info(
            "starting",
            id=identity.worker_id,
            listen=format_address(socket.local_address),
            http_port=port.port or "none",
        )
        # torch takes seconds to import; whatever is wrong above has been said by now.
        await in_thread(lambda: importlib.import_module("daiic.worker.assembly"))
        from daiic.worker.assembly import Worker

        llama_server = LlamaServer(settings.llama_server)
        if settings.llama_server and llama_server.path is None:
            raise SettingsError(
                f'llama_server = "{settings.llama_server}" cannot be run: name a llama-server by '
                "its path, or a command on PATH"
            )
        asks = settings.backend in ("auto", "vulkan")
        cards = await llama_server.devices() if asks else []
        worker = Worker(settings, token, socket, identity, statistics, key, llama_server, cards)
        worker.manager.on_device_lost = self._device_lost
        await worker.manager.rescan()
        node = self._node = worker.node
        self._life.on_reload(lambda settings: self._reload(settings, worker), CHANGEABLE)
        background = [
            self._keep(node.heads.report()),
            self._keep(self._tick(worker)),
            self._keep(node.telemetry.follow()),
            self._keep(notifier.feed_watchdog(lambda: not node.wedged())),
            self._keep(self._start(worker)),
        ]
        lending = set()
        if worker.lender is not None:
            lending.add(self._keep(worker.lender.run(settings.heads[0])))
        if worker.slices is not None:
            lending.add(self._keep(worker.slices.run()))
        await self._life.stop.wait()
        await self._drain(node)
        await socket.close(FAREWELL)
        for task in background:
            task.cancel()
        for task in lending:
            task.cancel()
        if lending:
            await asyncio.wait(lending)
        await port.close()
        clean = not worker.manager.busy
        try:
            await asyncio.wait_for(worker.manager.close(), FAREWELL)
        except TimeoutError:
            clean = False
        log.info("stopped", tasks_done=node.statistics.done)
        if not clean:
            # Neither a load nor a download can be stopped, nor a wedged engine; the
            # interpreter would wait for their threads.
            sys.stderr.flush()
            os._exit(1 if self._fault else 0)
        if self._fault is not None:
            raise self._fault

    def _keep(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` in the background; a fault in it ends the worker; systemd restarts it."""

        def ended(task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and task.exception() is not None:
                log.critical("internal error; please report it", exc_info=task.exception())
                self._fail(task.exception())

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        return task

    def _fail(self, fault: BaseException | None) -> None:
        """End with status 1 after a drain, so that systemd restarts the worker."""
        self._fault = fault
        self._life.stop.set()

    def _device_lost(self, error: BaseException) -> None:
        log.critical("the GPU fails this process; only a restart helps", reason=str(error))
        self._fail(error)

    async def _start(self, worker: "Worker") -> None:
        """Load what the settings name; be ready once a head knows that tasks are taken."""
        await worker.preload(self._settings.models)
        worker.node.serve()
        await worker.node.registered.wait()
        self._is_ready = True
        self._life.ready()
        loaded = [model.name for model in worker.manager.statuses() if model.state == pb.LOADED]
        log.info("serving", models=", ".join(loaded) or "none yet")

    async def _drain(self, node: "Node") -> None:
        patience = self._settings.drain_timeout
        self._is_ready = False
        self._life.notifier.stopping()
        self._life.notifier.extend(patience + 2 * FAREWELL + TICK)
        log.info("stopping", running=node.tasks.running, waiting=node.tasks.waiting)
        node.become(pb.DRAINING)
        await node.tasks.drain(patience)
        node.become(pb.STOPPED)

    async def _tick(self, worker: "Worker") -> None:
        notifier, node = self._life.notifier, worker.node
        seen = None
        rescan_at = time.monotonic() + RESCAN
        while True:
            # A heartbeat that is due every two seconds, and with each change, has asked already.
            told = node.collector.heartbeat.models
            models = told if node.state == pb.READY else worker.manager.statuses()
            notifier.status(status_line(node, models))
            if not self._is_ready and not self._life.stop.is_set():
                now = [(model.name, model.state, model.progress) for model in models]
                if now != seen or node.state == pb.READY:
                    notifier.extend(PATIENCE)
                seen = now
            await worker.manager.unload_dead()
            if self._settings.idle_unload and node.state == pb.READY:
                await worker.manager.unload_idle(
                    self._settings.idle_unload, keep=self._settings.models
                )
            if node.state == pb.STARTING:
                await asyncio.sleep(STARTING_TICK)
                continue
            if time.monotonic() >= rescan_at:
                await worker.manager.rescan()
                rescan_at = time.monotonic() + RESCAN
            await asyncio.sleep(TICK if node.tasks.running or node.tasks.waiting else IDLE_TICK)

    def _on_events(self, events: list[Event]) -> None:
        # Before there is a node no head can have this process on its list.
        if self._node is not None:
            self._node.on_events(events)

    def _reload(self, settings: WorkerSettings, worker: "Worker") -> None:
        worker.follow(settings, read_hf_token(settings))
        self._settings = settings

    def _why_not_ready(self) -> str | None:
        if self._is_ready:
            return None
        if self._life.stop.is_set():
            return "shutting down"
        if self._node is None:
            return "importing torch"
        if self._node.state == pb.READY:
            return "no head has registered this worker"
        return "loading models"


async def serve(life: Lifecycle[WorkerSettings]) -> None:
    """Run a worker until `life.stop` is set."""
    await Daemon(life).serve()


def main() -> None:
    """Run `daiic-worker`."""
    # Set before huggingface_hub is imported, which reads them then.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    run("daiic-worker", WorkerSettings, serve)
