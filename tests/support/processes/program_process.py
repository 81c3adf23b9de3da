"""`hydramesh run` in a process of its own, and the tiny language model that programs ask."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes import heads
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

MODELS = Path(__file__).parents[3] / "local-models"
CHAT = "daiic-tiny-chat"
LOADING = 180.0


class ProgramProcess(Daemon):
    """Programs of games, audio and sensors, which keep nothing unless they are told where."""

    def __init__(
        self,
        kind: heads.Head,
        *programs: Path,
        variables: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        """`kind` is HydraMesh, `settings` are those of `hydramesh run`.

        `variables` are added to its environment.
        """
        usual = {"storage": "none"}
        super().__init__(
            *kind.command,
            "run",
            *programs,
            environment={**kind.environment, **(variables or {})},
            **(usual | settings),
        )


@contextlib.asynccontextmanager
async def tiny_chat(kind: heads.Head, state: Path) -> AsyncIterator[HeadProcess]:
    """Yield a head of that kind, once a worker has loaded the tiny chat model."""
    async with (
        HeadProcess(kind=kind, storage="none", http_listen="") as head,
        WorkerProcess(
            heads=head.address,
            models=CHAT,
            models_dir=MODELS,
            state_dir=state,
            allow_downloads=False,
        ),
    ):
        async with asyncio.timeout(LOADING), ClusterClient([head.address]) as client:
            while not any(model.state == pb.LOADED for model in await client.models()):
                await asyncio.sleep(0.2)
        yield head
