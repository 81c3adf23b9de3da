"""`hydramesh health`, which containers and scripts ask whether the head does its work."""

import asyncio
import signal
import subprocess

import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.cast import Cast
from support.processes import heads
from support.processes.head_process import HeadProcess


async def health(
    hydramesh: heads.Head, http: str, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run,
        [*hydramesh.command, "health", "--http-listen", http, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_a_head_is_well_at_once_and_ready_with_a_worker(
    hydramesh: heads.Head, cast: Cast
) -> None:
    async with HeadProcess(kind=hydramesh, storage="none") as head:
        asked = f"127.0.0.1:{head.status_port}"
        assert (await health(hydramesh, asked)).returncode == 0
        # Where a container listens, and how it asks itself.
        assert (await health(hydramesh, f"0.0.0.0:{head.status_port}")).returncode == 0
        unready = await health(hydramesh, asked, "--ready")
        assert (unready.returncode, unready.stderr) == (1, "hydramesh: no worker has registered\n")
        model = pb.ModelStatus(name=cast.model, kind=pb.TEXT, state=pb.LOADED)
        await cast.worker(head, models=[model])
        await head.wait_for_workers(1)
        assert (await health(hydramesh, asked, "--ready")).returncode == 0


async def test_a_head_that_stands_still_or_is_gone_is_not_well(hydramesh: heads.Head) -> None:
    async with HeadProcess(kind=hydramesh, storage="none") as head:
        asked = f"127.0.0.1:{head.status_port}"
        head.signal(signal.SIGSTOP)
        still = await health(hydramesh, asked)
        assert (still.returncode, still.stderr) == (
            1,
            f"hydramesh: no answer from {asked} within 4 s\n",
        )
        head.signal(signal.SIGCONT)
        assert (await health(hydramesh, asked)).returncode == 0
    gone = await health(hydramesh, asked)
    assert gone.returncode == 1 and "Connection refused" in gone.stderr


@pytest.mark.parametrize(
    ("http", "arguments", "status", "said"),
    [
        ("", (), 1, "there is nobody to ask"),
        ("127.0.0.1:1", ("--foo",), 2, "unrecognized arguments: --foo"),
        ("nowhere", (), 2, "is not valid"),
    ],
)
async def test_what_it_cannot_do_is_said(
    hydramesh: heads.Head, http: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = await health(hydramesh, http, *arguments)
    assert done.returncode == status and said in done.stderr
