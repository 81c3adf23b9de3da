"""A model that several workers hold: the same answers through tunnels, also after one has died."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.llama_cpp.running import LENDING, PATH
from support.models import tiny_gguf
from support.processes.head_process import HeadProcess
from support.processes.heartbeats import heartbeat_of
from support.processes.worker_process import WorkerProcess

pytestmark = LENDING
MODEL = "chat.gguf"
MIB = 1 << 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.chat_model(folder / MODEL)
    return folder


class Cluster:
    """A head, a worker with a model, and two without that lend memory."""

    def __init__(self, models: Path, place: Path) -> None:
        self.key = place / "key"
        ClusterKey.generate().save(self.key)
        empty = place / "empty"
        empty.mkdir()
        self.head = HeadProcess(cluster_key_file=self.key)
        self._models, self._empty, self._place = models, empty, place
        self.lenders: list[WorkerProcess] = []

    async def start(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.head)
        self.lead = await stack.enter_async_context(self._worker("lead", self._models))
        for name in ("one", "two"):
            lender = self._worker(name, self._empty, shard=True, shard_listen="127.0.0.1:0")
            self.lenders.append(await stack.enter_async_context(lender))
        for lender in self.lenders:
            await lender.says(r"lending memory .*address=(\S+)")

    def _worker(self, name: str, models: Path, **settings: object) -> WorkerProcess:
        return WorkerProcess(
            PATH,
            heads=self.head.address,
            cluster_key_file=self.key,
            models_dir=models,
            cache_dir=self._place / f"{name}-cache",
            state_dir=self._place / name,
            name=name,
            allow_downloads=False,
            slots=2,
            threads=1,
            **settings,
        )

    def client(self) -> ClusterClient:
        return ClusterClient([self.head.address], key=ClusterKey.load(self.key))

    def asking_lead(self) -> ClusterClient:
        """Return a client of the worker that leads: heads take no plans."""
        return ClusterClient([self.lead.address], key=ClusterKey.load(self.key))

    def plan(self) -> pb.ShardPlan:
        return pb.ShardPlan(
            members=[
                pb.ShardMember(
                    worker_id=lender.worker_id,
                    name=f"lender {number}",
                    address=lender.said(r"(?s).*lending memory [^\n]*address=(\S+)"),
                    bytes=(self._models / MODEL).stat().st_size // 3,
                )
                for number, lender in enumerate(self.lenders)
            ]
        )


def rpc_server(lender: WorkerProcess) -> psutil.Process:
    """Return the process with which `lender` lends."""
    (found,) = (
        child
        for child in psutil.Process(lender.pid).children(recursive=True)
        if "ggml-rpc-server" in " ".join(child.cmdline())
    )
    return found


@pytest.fixture
async def cluster(models: Path, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(models, tmp_path)
        await made.start(stack)
        yield made


def text(max_tokens: int = 60) -> pb.TextTask:
    asked = pb.ChatMessage(role="user", content="Count to one hundred")
    return pb.TextTask(messages=[asked], temperature=0, max_tokens=max_tokens)


async def answer(client: ClusterClient, shards: pb.ShardPlan | None) -> list[pb.Result]:
    task = pb.Task(model=MODEL, text=text(), shards=shards, stream=True)
    return [part async for part in client.run(task)]


async def test_the_answer_is_that_of_the_unsplit_model_and_status_tells_who_holds_what(
    cluster: Cluster,
) -> None:
    async with cluster.asking_lead() as asking:
        parts = await answer(asking, cluster.plan())
    async with cluster.client() as client:
        while not (lead := await heartbeat_of(client, "lead")).models[0].shards:
            await asyncio.sleep(0.2)
        (model,) = lead.models
        assert [shard.name for shard in model.shards] == ["lead", "lender 0", "lender 1"]
        assert sum(shard.layers for shard in model.shards) == 4
        assert next(iter(model.shards)).first_layer == 0
        assert all(shard.layers for shard in model.shards)
        assert model.needs > 256 * MIB
        assert {link.worker_id for link in lead.shard.links} == set()  # it lends nothing itself
        identity = model.identity
        while not (lender := await heartbeat_of(client, "one")).HasField("shard"):
            await asyncio.sleep(0.2)
        assert lender.shard.bytes and lender.shard.address.startswith("127.0.0.1:")
    async with AsyncExitStack() as stack:
        head = await stack.enter_async_context(HeadProcess())
        await stack.enter_async_context(
            WorkerProcess(
                PATH,
                heads=head.address,
                models_dir=cluster._models,
                state_dir=cluster._place / "alone",
                allow_downloads=False,
            )
        )
        async with ClusterClient([head.address]) as client:
            whole = await answer(client, None)
            assert [t for part in whole for t in part.tokens] == [
                t for part in parts for t in part.tokens
            ]
            told = next(part.model for part in whole if part.HasField("model"))
            assert told == identity


async def test_a_member_killed_in_mid_answer_costs_no_token_of_it(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    tiny_gguf.chat_model(
        models / MODEL, layers=24, experts=56
    )  # 800 MB, and no worker may hold more
    key = tmp_path / "key"
    ClusterKey.generate().save(key)
    async with AsyncExitStack() as stack:
        head = await stack.enter_async_context(HeadProcess(cluster_key_file=key))
        workers = {}
        for name in ("one", "two", "three"):
            workers[name] = await stack.enter_async_context(
                WorkerProcess(
                    PATH,
                    heads=head.address,
                    cluster_key_file=key,
                    models_dir=models,
                    state_dir=tmp_path / name,
                    name=name,
                    ram_limit=740 * MIB,
                    shard=True,
                    shard_listen="127.0.0.1:0",
                    allow_downloads=False,
                    slots=1,
                    threads=1,
                )
            )
        for one in workers.values():
            await one.says(r"lending memory ")
        async with ClusterClient([head.address], key=ClusterKey.load(key)) as client:
            while not all(one.heartbeat.shard.bytes for one in (await client.status()).workers):
                await asyncio.sleep(0.2)
            whole = [t for part in await answer(client, None) for t in part.tokens]
            shards = await shards_in(client)
            assert len(shards) >= 2
            member = next(shard.name for shard in shards if shard.bytes and shard != shards[0])
            killed = False
            tokens: list[int] = []
            async for part in client.run(pb.Task(model=MODEL, text=text(), stream=True)):
                assert not part.started_over
                tokens += part.tokens
                if part.tokens and not killed:
                    killed = True
                    rpc_server(workers[member]).kill()
            assert tokens == whole
            assert "an engine died" in "".join(one.log for one in workers.values())


async def shards_in(client: ClusterClient) -> list[pb.Shard]:
    """Return who holds which part of the model."""
    while True:
        for one in (await client.status()).workers:
            for model in one.heartbeat.models:
                if model.shards:
                    return list(model.shards)
        await asyncio.sleep(0.2)


async def test_who_has_no_key_gets_nothing(cluster: Cluster) -> None:
    host, port = cluster.plan().members[0].address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.settimeout(20)
        plain.sendall(b"\x0e" + bytes(8))  # RPC's HELLO
        heard = b""
        try:
            while more := plain.recv(4096):
                heard += more
        except ConnectionError:
            pass
        assert not heard or heard[0] == 21  # a TLS alert
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), 10) as sock, pytest.raises(OSError):
        context.wrap_socket(sock)
    # and it is still there for those who have it
    async with cluster.asking_lead() as asking:
        assert (await answer(asking, cluster.plan()))[-1].final


async def test_an_rpc_server_that_dies_is_started_again(cluster: Cluster) -> None:
    lender = cluster.lenders[0]
    before = rpc_server(lender)
    before.kill()
    await lender.says(r"(?s)what lends memory has ended.*lending memory ")
    assert rpc_server(lender).pid != before.pid


async def test_nothing_that_lends_outlives_its_worker(cluster: Cluster) -> None:
    children = psutil.Process(cluster.lenders[0].pid).children(recursive=True)
    assert len(children) >= 2
    await cluster.lenders[0].kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 20)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
