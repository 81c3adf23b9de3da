"""Two hosts that reach each other only through a third, which is the lossy relay.

Each is a network namespace with an address of its own, so datagrams take the kernel's real path
between machines: no loopback, an MTU of 1500, ARP, routes.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daiic.tether import tethered
from support.links.machines import ip, machines

TESTS = Path(__file__).parents[2]
SIZE = 16 << 20

RECEIVER = f"""
import asyncio, sys
sys.path.insert(0, {str(TESTS)!r})
from daiic.wire.keyfile import ClusterKey
from daiic.wire.udp import MeshSocket

async def main():
    whole = asyncio.get_running_loop().create_future()
    mesh = await MeshSocket.open(
        "10.77.2.2:7717", on_events=lambda es: whole.set_result(es[0]), key=ClusterKey(bytes(32)))
    print("ready", flush=True)
    message = await whole
    await mesh.close()
    print(message.peer[0], len(message.payload), sum(message.payload))

asyncio.run(main())
"""

SENDER = f"""
import asyncio, sys
from daiic.wire.keyfile import ClusterKey
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket

async def main():
    mesh = await MeshSocket.open(
        "10.77.1.2:0", on_events=lambda _: None, key=ClusterKey(bytes(32)))
    mesh.send(("10.77.1.1", 7000), MessageType.RESULT, b"\\1" * {SIZE})
    await mesh.close(drain=60)
    print("idle" if mesh.idle() else "not idle")

asyncio.run(main())
"""


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Names of three namespaces: the sender's, the relay's, the receiver's."""
    with machines("sender", "relay", "receiver") as names:
        for net, end in ((1, names[0]), (2, names[2])):
            ip("-n", names[1], "link", "add", f"to{net}", "type", "veth",
               "peer", "name", "uplink", "netns", end)  # fmt: skip
            for name, link, host in ((names[1], f"to{net}", 1), (end, "uplink", 2)):
                ip("-n", name, "addr", "add", f"10.77.{net}.{host}/24", "dev", link)
                ip("-n", name, "link", "set", link, "up")
        yield names


async def run(namespace: str, *command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *tethered("ip", "netns", "exec", namespace, sys.executable, *command),
        stdout=asyncio.subprocess.PIPE,
    )


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


async def test_a_large_result_crosses_from_host_to_host(namespaces: list[str]) -> None:
    sender_side, relay_side, receiver_side = namespaces
    processes = []
    try:
        receiver = await run(receiver_side, "-c", RECEIVER)
        processes.append(receiver)
        assert await line(receiver) == "ready"
        relay = await run(
            relay_side, str(TESTS / "support/links/lossy_relay.py"),
            "--listen", "10.77.1.1:7000", "--to", "10.77.2.2:7717", "--seed", "15",
            "--loss", "0.05", "--delay", "0.010", "--jitter", "0.005",
            "--reorder", "0.05", "--duplicate", "0.02", "--corrupt", "0.005",
        )  # fmt: skip
        processes.append(relay)
        assert await line(relay) == "10.77.1.1:7000"
        sender = await run(sender_side, "-c", SENDER)
        processes.append(sender)
        assert await line(receiver) == f"10.77.2.1 {SIZE} {SIZE}"
        assert await line(sender) == "idle"
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()
