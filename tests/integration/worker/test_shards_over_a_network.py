"""A model on machines with a network between them, and what may happen to those in mid-answer.

Each of three workers is in a network namespace with an address and a cable of its own, and may
hold too little for the model; two of them suffice.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from daiic.worker.backend import choose as backend
from daiic.worker.engines.interface import LoadOptions
from support.links.machines import NETWORK, Switch, inside, machines
from support.llama_cpp.running import LENDING, PATH, answer, serving, use
from support.models import tiny_gguf
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

pytestmark = LENDING
MODEL = "chat.gguf"
LIMIT = 560 << 20
"""Bytes that a worker may hold; the model takes 640 MiB."""
NAMES = ("one", "two", "three")
BEFORE = 4
"""Tokens that have come when something happens."""


def task() -> pb.Task:
    asked = pb.ChatMessage(role="user", content="Count to one hundred")
    text = pb.TextTask(messages=[asked], temperature=0, max_tokens=300)
    return pb.Task(model=MODEL, text=text, stream=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.chat_model(folder / MODEL, layers=12, experts=56)
    return folder


@pytest.fixture(scope="module")
def expected(models: Path) -> list[int]:
    """The tokens that the model answers with in one piece."""

    async def run() -> list[int]:
        options = LoadOptions(backend("cpu"), slots=1, threads=1)
        async with serving(models / MODEL, options=options) as engine:
            return [token for part in await answer(engine, task()) for token in part.tokens]

    with pytest.MonkeyPatch.context() as patch:
        use("debian", patch)
        return asyncio.run(run())


class Cluster:
    """A head, a client, and three workers by their names."""

    def __init__(self, switch: Switch, hosts: dict[str, str], models: Path, place: Path) -> None:
        self.switch = switch
        self.hosts = hosts
        self.workers: dict[str, WorkerProcess] = {}
        self._models, self._place = models, place

    async def start(self, stack: AsyncExitStack) -> None:
        secret = self._place / "key"
        key = ClusterKey.generate()
        key.save(secret)
        with inside(self.switch.machine):
            head = HeadProcess(listen=f"{NETWORK}.1:0", http_listen="", cluster_key_file=secret)
            await stack.enter_async_context(head)
            client = ClusterClient([head.address], key=key)
            self.client = await stack.enter_async_context(client)
        for name, host in self.hosts.items():
            address = self.switch.connect(host)
            self.workers[name] = await stack.enter_async_context(
                WorkerProcess(
                    PATH,
                    machine=host,
                    listen=f"{address}:0",
                    http_listen="",
                    heads=head.address,
                    cluster_key_file=secret,
                    models_dir=self._models,
                    cache_dir=self._place / f"{name}-cache",
                    state_dir=self._place / name,
                    name=name,
                    ram_limit=LIMIT,
                    shard=True,
                    shard_listen="0.0.0.0:7729",
                    allow_downloads=False,
                    slots=1,
                    threads=1,
                )
            )
        while sum(one.heartbeat.shard.bytes > 0 for one in await self.reported()) < len(NAMES):
            await asyncio.sleep(0.2)

    async def reported(self) -> list[pb.WorkerStatus]:
        return list((await self.client.status()).workers)

    async def group(self) -> list[str]:
        """Return the names of those that hold the model, the one that leads first."""
        while True:
            for one in await self.reported():
                for model in one.heartbeat.models:
                    if model.shards:
                        assert all(shard.layers for shard in model.shards)
                        return [shard.name for shard in model.shards]
            await asyncio.sleep(0.2)

    async def ask(self, happen: Callable[[], None] = lambda: None) -> list[int]:
        """Return the tokens of an answer; let something `happen` when some have come."""
        tokens: list[int] = []
        happened = False
        async for part in self.client.run(task()):
            assert not part.started_over
            tokens += part.tokens
            if len(tokens) >= BEFORE and not happened:
                happened = True
                happen()
        assert happened
        return tokens

    def kill(self, name: str) -> None:
        """Kill a worker and all that it has started, as when its machine loses power."""
        worker = psutil.Process(self.workers[name].pid)
        for process in [worker, *worker.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def cut(self, name: str) -> None:
        self.switch.pull(self.hosts[name])

    def rpc_server(self, name: str) -> psutil.Process:
        """Return the process with which a worker lends."""
        (server,) = (
            child
            for child in psutil.Process(self.workers[name].pid).children(recursive=True)
            if "ggml-rpc-server" in " ".join(child.cmdline())
        )
        return server

    def hang(self, name: str) -> None:
        """Stop the rpc-server of a worker, which itself goes on."""
        self.rpc_server(name).send_signal(signal.SIGSTOP)


@pytest.fixture
def network() -> Iterator[tuple[Switch, dict[str, str]]]:
    with machines("switch", *NAMES) as (switch, *hosts):
        yield Switch(switch), dict(zip(NAMES, hosts, strict=True))


@pytest.fixture
async def cluster(
    network: tuple[Switch, dict[str, str]], models: Path, tmp_path: Path
) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(*network, models, tmp_path)
        await made.start(stack)
        yield made


async def test_the_answer_is_the_same_after_a_member_is_killed(
    cluster: Cluster, expected: list[int]
) -> None:
    assert await cluster.ask() == expected
    _, member = await cluster.group()
    assert await cluster.ask(lambda: cluster.kill(member)) == expected
    assert member not in await cluster.group()


async def test_the_answer_goes_on_elsewhere_when_the_one_that_leads_is_killed(
    cluster: Cluster, expected: list[int]
) -> None:
    await cluster.ask()
    lead, _ = await cluster.group()
    assert await cluster.ask(lambda: cluster.kill(lead)) == expected
    assert lead not in await cluster.group()


async def test_the_answer_goes_on_with_others_when_a_member_is_cut_off(
    cluster: Cluster, expected: list[int]
) -> None:
    await cluster.ask()
    _, member = await cluster.group()
    assert await cluster.ask(lambda: cluster.cut(member)) == expected
    assert member not in await cluster.group()


async def test_what_a_lead_held_on_others_is_free_again_when_it_is_cut_off(
    cluster: Cluster, expected: list[int]
) -> None:
    await cluster.ask()
    lead, member = await cluster.group()
    server = cluster.rpc_server(member)
    held = server.memory_info().rss
    assert await cluster.ask(lambda: cluster.cut(lead)) == expected
    again, *members = await cluster.group()
    assert lead not in {again, *members}
    if member not in members:  # else it has that one to attend to now
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(psutil.NoSuchProcess):
                while server.is_running() and server.memory_info().rss > held / 2:
                    await asyncio.sleep(0.5)


async def test_a_member_that_hangs_is_ended_and_the_answer_goes_on(
    cluster: Cluster, expected: list[int]
) -> None:
    await cluster.ask()
    _, member = await cluster.group()
    assert await cluster.ask(lambda: cluster.hang(member)) == expected
    assert "though it is asked" in cluster.workers[member].log
