"""A head and workers with a Thunderbolt cable beside the network, in network namespaces.

The cable is a pair of veth devices that have Thunderbolt's name. So this shows what is done about
cables, and nothing of how fast real ones are.
"""

import asyncio
import contextlib
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.links.cable import DEVICE, Cable, link_local, sent
from support.links.machines import NETWORK, Switch, inside, machines
from support.models import tiny_models
from support.processes import built
from support.processes.head_process import HeadProcess
from support.processes.heads import Head
from support.processes.worker_process import WorkerProcess

MODEL = "tiny"
GROUP = "ff12::dcf:27"
LARGEST_DATAGRAM = 65_474
TOKENS = 200
BOUND = 20.0
"""Seconds; it takes less than one on a machine that has time."""
BEFORE = 20
"""Tokens that have come when something happens to the cable."""
REACHED = "a peer is reached over a cable"
LEFT = "a peer is reached over the ordinary network again"


def task() -> pb.Task:
    text = pb.TextTask(prompt="once upon a time", temperature=0, max_tokens=TOKENS)
    return pb.Task(model=MODEL, text=text, stream=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.language_model(folder / MODEL)
    return folder


@dataclass
class Answer:
    """What a stream brought, and the longest time in which it brought nothing."""

    tokens: list[int] = field(default_factory=list)
    longest_pause: float = 0.0


class Cluster:
    """A head, a client beside it, and a worker on another machine with two ways to it."""

    def __init__(self, head: str, worker: str, models: Path, place: Path) -> None:
        self.machines = (head, worker)
        self.switch = Switch(head)
        self.address = self.switch.connect(worker)
        self.cable = Cable(self.machines)
        self._models, self._place = models, place
        self.key = ClusterKey.generate()
        self.key.save(place / "key")

    async def start(self, kind: Head, stack: AsyncExitStack) -> None:
        """Start head and worker, with the cable in."""
        with inside(self.machines[0]):
            self.head = await stack.enter_async_context(self.head_process(kind))
            client = ClusterClient([self.head.address], key=self.key)
            self.client = await stack.enter_async_context(client)
        self.worker = await stack.enter_async_context(
            WorkerProcess(
                {"DAIIC_LIBDCF": built.libdcf("debug")},
                machine=self.machines[1],
                listen=f"{self.address}:0",
                heads=self.head.address,
                cluster_key_file=self._place / "key",
                models_dir=self._models,
                cache_dir=self._place / "cache",
                state_dir=self._place / "worker",
                usb4_enabled=True,
                allow_downloads=False,
                models=MODEL,
                threads=1,
            )
        )
        await self.worker.says("serving")

    def head_process(self, kind: Head, **settings: object) -> HeadProcess:
        own = {
            "listen": f"{NETWORK}.1:0",
            "http_listen": "127.0.0.1:0",
            "cluster_key_file": self._place / "key",
        }
        return HeadProcess({"HYDRAMESH_USB4_ENABLED": "true"}, kind=kind, **(own | settings))

    async def paths_up(self, *, again: bool = False) -> None:
        """Wait until head and worker reach each other over the cable; `again`: after it was out."""
        for daemon in (self.head, self.worker):
            await daemon.says(f"(?s){LEFT}.*{REACHED}" if again else REACHED)

    async def ask(self, happen: Callable[[], None] = lambda: None) -> Answer:
        """Return an answer; let something `happen` when some of it has come."""
        answer, happened, at = Answer(), False, None
        async for part in self.client.run(task()):
            assert not part.started_over
            now = time.monotonic()
            if at is not None:
                answer.longest_pause = max(answer.longest_pause, now - at)
            at = now
            answer.tokens += part.tokens
            if len(answer.tokens) >= BEFORE and not happened:
                happened = True
                happen()
        assert happened
        return answer

    def metric(self, name: str) -> float:
        """Return one of the head's metrics."""
        url = f"http://127.0.0.1:{self.head.status_port}/metrics"
        with inside(self.machines[0]), urlopen(url) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])


@pytest.fixture
def two() -> Iterator[list[str]]:
    with machines("head", "worker") as made:
        yield made


@pytest.fixture
async def cluster(
    two: list[str], hydramesh: Head, models: Path, tmp_path: Path
) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(*two, models, tmp_path)
        await made.start(hydramesh, stack)
        await made.paths_up()
        yield made


async def test_what_peers_send_goes_over_the_cable(cluster: Cluster) -> None:
    before = [sent(machine) for machine in cluster.machines]
    network = sent(cluster.machines[1], "uplink")
    answer = await cluster.ask()
    assert len(answer.tokens) == TOKENS
    over_cable = sent(cluster.machines[1]) - before[1]
    over_network = sent(cluster.machines[1], "uplink") - network
    print(f"the worker sent {over_cable} bytes over the cable and {over_network} over the network")
    assert over_cable > 10 * over_network
    assert cluster.metric("daiic_wire_link_datagrams_received_total") > TOKENS / 50
    assert cluster.metric("daiic_wire_link_datagrams_sent_total") > 0


@pytest.mark.parametrize("how", ["unplug", "switch_off", "go_silent"])
async def test_no_token_is_lost_when_the_cable_is_pulled(cluster: Cluster, how: str) -> None:
    expected = (await cluster.ask()).tokens
    cable, worker = cluster.cable, cluster.machines[1]
    pull = cable.unplug if how == "unplug" else lambda: getattr(cable, how)(worker)
    answer = await cluster.ask(pull)
    assert answer.tokens == expected
    assert answer.longest_pause < BOUND
    print(f"cable gone ({how}): the stream paused for {answer.longest_pause:.2f} s at most")
    await cluster.head.says(LEFT)
    await cluster.worker.says(LEFT)
    assert (await cluster.ask()).tokens == expected, "without a cable"
    {
        "unplug": cable.plug,
        "switch_off": lambda: cable.switch_on(worker),
        "go_silent": lambda: cable.speak_again(worker),
    }[how]()
    await cluster.paths_up(again=True)
    before = sent(worker)
    assert (await cluster.ask()).tokens == expected
    assert sent(worker) > before + TOKENS


async def test_heads_reach_each_other_over_the_cable(
    two: list[str], hydramesh: Head, models: Path, tmp_path: Path
) -> None:
    cluster = Cluster(*two, models, tmp_path)
    async with AsyncExitStack() as stack:
        with inside(two[0]):
            one = await stack.enter_async_context(cluster.head_process(hydramesh))
        with inside(two[1]):
            own = {"listen": f"{cluster.address}:0", "peers": one.address}
            other = await stack.enter_async_context(cluster.head_process(hydramesh, **own))
        for head in (one, other):
            await head.says(REACHED)
        before = sent(two[1])
        cluster.cable.unplug()
        for head in (one, other):
            await head.says(LEFT)
        assert before > 0


async def test_without_a_cable_all_goes_over_the_network_and_it_is_said(
    hydramesh: Head, tmp_path: Path
) -> None:
    ClusterKey.generate().save(tmp_path / "key")
    environment = {"HYDRAMESH_USB4_ENABLED": "true"}
    keyed = HeadProcess(environment, kind=hydramesh, cluster_key_file=tmp_path / "key")
    async with keyed, HeadProcess(environment, kind=hydramesh) as open_head:
        await keyed.says("looked for over Thunderbolt cables; over UDP while there is none")
        await open_head.says("a plugin is disabled.*usb4.*set cluster_key_file")
        assert (await open_head.get("/healthz"))[0] == 200


# ---------------------------------------------------------------------------------------- hostile


class Stranger:
    """Somebody on the cable without the key: says what it likes, from an address of its own."""

    def __init__(self, machine: str, toward: str) -> None:
        with inside(machine):
            self._scope = socket.if_nametoindex(DEVICE)
            self._socket = self._bound(link_local(machine), 0)
            self._heard = self._bound("::", 7719)
        group = socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", self._scope)
        self._heard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        self._ip, self._port = self._socket.getsockname()[:2]
        self._toward = toward
        self.recorded: list[bytes] = []

    def _bound(self, host: str, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port, 0, self._scope if host != "::" else 0))
        return made

    def listen(self) -> list[int]:
        """Record what others say to all; return the ports from which it came."""
        ports = []
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram, sender = self._heard.recvfrom(65_536)
                self.recorded.append(datagram)
                ports.append(sender[1])
        return ports

    def say(self, datagram: bytes, port: int) -> None:
        """Send to a port of the other machine."""
        with contextlib.suppress(BlockingIOError):
            self._socket.sendto(datagram, (self._toward, port, 0, self._scope))

    def claim(self, port: int) -> None:
        """Claim to be a neighbour, each way there is, without a seal and with a wrong one."""
        begin = bytes([1]) + bytes(16) + socket.inet_pton(socket.AF_INET6, self._ip)
        begin += struct.pack(">HH", self._port, LARGEST_DATAGRAM)
        for kind, rest in ((0, b""), (2, bytes(16)), (3, bytes(24)), (4, bytes(10) + b"\x01")):
            payload = bytes([kind]) + begin + rest
            for tail in (b"", bytes(40)):
                now = time.time_ns() // 1000
                header = struct.pack(">BIQI", 0x27, 0, now, len(payload + tail))
                self.say(header + payload + tail, port)
        self.say(struct.pack(">BIQI", 2, 7, 0, 5) + b"hello", port)

    def got(self) -> list[bytes]:
        """Return what anybody sent to it alone."""
        came = []
        with contextlib.suppress(BlockingIOError):
            while True:
                came.append(self._socket.recv(65_536))
        return came

    def close(self) -> None:
        self._socket.close()
        self._heard.close()


async def test_a_stranger_on_the_cable_is_told_nothing_and_changes_nothing(
    cluster: Cluster,
) -> None:
    expected = (await cluster.ask()).tokens
    head, worker = cluster.machines
    with contextlib.closing(Stranger(worker, link_local(head))) as stranger:
        ports: set[int] = set()
        for _ in range(30):
            ports.update(stranger.listen())
            for port in ports | {7719}:
                stranger.claim(port)
                for datagram in stranger.recorded[-4:]:
                    stranger.say(datagram, port)
            await asyncio.sleep(0.1)
        assert stranger.recorded, "it hears that others are there"
        assert (await cluster.ask()).tokens == expected
        assert stranger.got() == []
    assert cluster.metric("daiic_wire_link_dropped_forged_total") > 0
    assert cluster.metric("daiic_wire_link_dropped_unknown_total") > 0
    assert LEFT not in cluster.head.log + cluster.worker.log
