"""HydraMesh on libdcf: it finds it or says what to do, and nothing that arrives ends it."""

import asyncio
import random
import socket
import subprocess
import time
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from daiic.wire.messages import MessageType, encode
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess

WHAT_TO_DO = "`src/cargo.sh build --release` makes libdcf.so, and HYDRAMESH_LIBDCF names it"


async def refusal(hydramesh: heads.Head, library: Path) -> str:
    """Return what a head says that is to use `library`, and ends."""
    head = HeadProcess({"HYDRAMESH_LIBDCF": str(library)}, kind=hydramesh, storage="none")
    head.start()
    assert await head.ended() == 1
    return head.log


def other_library(source: str, path: Path) -> Path:
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(path), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    return path


async def test_a_library_that_cannot_be_used_is_named_with_what_to_do(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    none = tmp_path / "none.so"
    empty = tmp_path / "empty.so"
    empty.touch()
    strange = other_library("int strange;", tmp_path / "strange.so")
    version = "unsigned dcf_abi_version(void) { return %d; }"
    newer = other_library(version % 7, tmp_path / "newer.so")
    older = other_library(version % 1, tmp_path / "older.so")
    for library, reason in (
        (none, f"libdcf cannot be loaded from {none}"),
        (empty, f"libdcf cannot be loaded from {empty}"),
        (strange, f"{strange} is not libdcf"),
        (newer, f"{newer} is libdcf with version 7 of its interface, and not 1"),
        (older, f"{older} is a libdcf that is too old"),
    ):
        log = await refusal(hydramesh, library)
        assert "cannot continue" in log
        assert f"{reason}; {WHAT_TO_DO}" in log


async def test_the_library_of_the_build_is_used_if_none_is_named(hydramesh: heads.Head) -> None:
    unnamed = heads.Head(hydramesh.name, hydramesh.command)
    async with (
        HeadProcess({"HYDRAMESH_LIBDCF": ""}, kind=unnamed, storage="none") as head,
        ClusterClient([head.address]) as client,
    ):
        assert not (await client.status()).workers


@pytest.mark.parametrize("sealed", [False, True])
async def test_whatever_arrives_it_serves_on(
    hydramesh: heads.Head, sealed: bool, tmp_path: Path
) -> None:
    settings: dict[str, object] = {}
    key = None
    if sealed:
        key = ClusterKey.generate()
        key.save(tmp_path / "key")
        settings["cluster_key_file"] = tmp_path / "key"
    dice = random.Random(13)
    types = [*MessageType, 0x0B, 0x26, 0, 255]

    def datagram() -> bytes:
        payload = dice.randbytes(dice.choice([0, 1, 8, 20, 100, 1183]))
        if dice.random() < 0.3:
            payload = pb.Heartbeat(
                worker_id="w", models=[pb.ModelStatus(name="m")] * 3
            ).SerializeToString()
        whole = encode(dice.choice(types), dice.getrandbits(32), dice.getrandbits(64), payload)
        return whole[: dice.randrange(len(whole))] if dice.random() < 0.2 else whole

    async with HeadProcess(kind=hydramesh, storage="none", **settings) as head:
        worker = await WorkerStub.open([head.address], key=key)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(head.host_port)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                for _ in range(50):
                    stranger.send(datagram())
                await asyncio.sleep(0.005)
        dropped = "dropped_forged" if sealed else "dropped_malformed"
        assert await head.metric(f"daiic_wire_{dropped}_total") > 0
        assert "fault" not in head.log, head.log
        async with ClusterClient([head.address], key) as client:
            task = pb.Task(model="echo", text=pb.TextTask(prompt="still here"))
            assert "".join([part.text async for part in client.run(task)]) == "still here"
        await worker.close()
        assert await asyncio.to_thread(head.stop) == 0
