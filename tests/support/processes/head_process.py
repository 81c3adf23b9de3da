"""A real head in a process of its own: the one that the test is of."""

import asyncio
import shutil
import tempfile
import time
import weakref
from collections.abc import Collection, Mapping
from typing import Self

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes import heads
from support.processes.daemon import PATIENCE, Daemon


class HeadProcess(Daemon):
    """A head on free ports of loopback."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        kind: heads.Head | None = None,
        without: Collection[str] = (),
        **settings: object,
    ) -> None:
        """`settings` are those of the head; `environment` is added to this process's, `without`
        left out of it.

        `kind` is the head; that which the test is of, if none is given. What it keeps goes when
        this object does.
        """
        kind = kind or heads.current()
        state = tempfile.mkdtemp(prefix="daiic-head-")
        weakref.finalize(self, shutil.rmtree, state, ignore_errors=True)
        free = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"}
        super().__init__(
            *kind.command,
            environment={
                "STATE_DIRECTORY": state,
                **kind.environment,
                **(environment or {}),
            },
            without=without,
            **(free | settings),
        )
        self.started_in = 0.0
        """Seconds from its start until it listened."""

    async def __aenter__(self) -> Self:
        began = time.perf_counter()
        await super().__aenter__()
        self.started_in = time.perf_counter() - began
        return self

    async def wait_for_workers(self, count: int) -> pb.ClusterStatus:
        """Wait until exactly `count` workers are registered; return the status that says so."""
        async with ClusterClient([self.address]) as client, asyncio.timeout(PATIENCE):
            while True:
                status = await client.status()
                if len(status.workers) == count:
                    return status
                await asyncio.sleep(0.02)
