"""A head, workers with the models of local-models/, and a gateway."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

ROOT = Path(__file__).parents[3]
CHAT = "daiic-tiny-chat"
IMAGE = "tiny-shapes.safetensors"
LOADING = 180.0


@asynccontextmanager
async def real_cluster(state: Path, *names: str) -> AsyncIterator[RunningGateway]:
    """Yield the gateway once both models are loaded; `state` is a folder for workers' files."""
    async with HeadProcess(http_listen="") as head, AsyncExitStack() as stack:
        for name in names:
            worker = WorkerProcess(
                heads=head.address,
                models=[CHAT, IMAGE],
                models_dir=ROOT / "local-models",
                state_dir=state / name,
                name=name,
                allow_downloads=False,
            )
            await stack.enter_async_context(worker)
        gateway = await stack.enter_async_context(gateway_process(f"--heads={head.address}"))
        await _loaded(gateway, len(names))
        yield gateway


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
