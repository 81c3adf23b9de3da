"""A head, workers with the models of local-models/, and a gateway."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from daiic.cli.tether import tethered
from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess

ROOT = Path(__file__).parents[3]
CHAT = "daiic-tiny-chat"
IMAGE = "tiny-shapes.safetensors"
LOADING = 180.0


@asynccontextmanager
async def real_cluster(state: Path, *names: str) -> AsyncIterator[RunningGateway]:
    """Yield the gateway once both models are loaded; `state` is a folder for workers' files."""
    async with HeadProcess(http_listen="") as head, AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(_worker(head.address, state / name, name))
        gateway = await stack.enter_async_context(gateway_process(f"--heads={head.address}"))
        await _loaded(gateway, len(names))
        yield gateway


@asynccontextmanager
async def _worker(head: str, state: Path, name: str) -> AsyncIterator[None]:
    state.mkdir()
    with (state / "log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *tethered(
                Path(sys.executable).with_name("daiic-worker"),
                f"--heads={head}",
                f"--models={CHAT},{IMAGE}",
                f"--models-dir={ROOT / 'local-models'}",
                f"--state-dir={state}",
                f"--name={name}",
                "--listen=127.0.0.1:0",
                "--http-listen=",
                "--allow-downloads=false",
            ),
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(worker.wait(), 20)
        except TimeoutError:
            worker.kill()
            await worker.wait()


async def _loaded(gateway: RunningGateway, workers: int) -> None:
    end = asyncio.get_running_loop().time() + LOADING
    async with contextlib.aclosing(gateway.snapshots()) as snapshots:
        async for snapshot in snapshots:
            loaded = [
                model["name"]
                for worker in snapshot["workers"]
                for model in worker["models"]
                if model["state"] == "loaded"
            ]
            if loaded.count(CHAT) == loaded.count(IMAGE) == workers:
                return
            assert asyncio.get_running_loop().time() < end, snapshot
