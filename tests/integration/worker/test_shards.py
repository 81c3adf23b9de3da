"""A model that several workers hold: the same answers through tunnels, also after one has died."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from daiic.answer_order import AnswerOrder
from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.llama_cpp.running import PROGRAMS
from support.models import tiny_gguf
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

pytestmark = [
    pytest.mark.skipif(
        not (PROGRAMS / "ggml-rpc-server").exists(),
        reason="needs tests/support/llama_cpp/fetch.sh .venv/llama.cpp",
    ),
    pytest.mark.skipif(shutil.which("stunnel") is None, reason="needs stunnel"),
]
PATH = {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
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
            **settings,
        )

    def client(self) -> ClusterClient:
        return ClusterClient([self.head.address], key=ClusterKey.load(self.key))

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

    def rpc_server(self, lender: WorkerProcess) -> psutil.Process:
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


async def status_of(client: ClusterClient, name: str) -> pb.Heartbeat:
    status = await client.status()
    (found,) = (one.heartbeat for one in status.workers if one.heartbeat.name == name)
    return found


async def test_the_answer_is_that_of_the_unsplit_model_and_status_tells_who_holds_what(
    cluster: Cluster,
) -> None:
    async with cluster.client() as client:
        parts = await answer(client, cluster.plan())
        while not (lead := await status_of(client, "lead")).models[0].shards:
            await asyncio.sleep(0.2)
        (model,) = lead.models
        assert [shard.name for shard in model.shards] == ["lead", "lender 0", "lender 1"]
        assert sum(shard.layers for shard in model.shards) == 4
        assert next(iter(model.shards)).first_layer == 0
        assert all(shard.layers for shard in model.shards)
        assert model.needs > 256 * MIB
        assert {link.worker_id for link in lead.shard.links} == set()  # it lends nothing itself
        identity = model.identity
        while not (lender := await status_of(client, "one")).HasField("shard"):
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


async def test_a_member_killed_in_mid_answer_costs_no_token_of_it(
    cluster: Cluster,
) -> None:
    async with cluster.client() as client:
        whole = [t for part in await answer(client, cluster.plan()) for t in part.tokens]
        task = pb.Task(model=MODEL, text=text(), shards=cluster.plan(), stream=True)
        order = AnswerOrder(task)
        killed = False
        with pytest.raises(TaskError) as raised:
            async for part in client.run(task):
                order.accept(part)
                if part.tokens and not killed:
                    killed = True
                    cluster.rpc_server(cluster.lenders[0]).send_signal(signal.SIGKILL)
        assert raised.value.code == pb.WORKER_LOST
        order.resume_here()
        before = list(order.task.resume.tokens)
        assert 0 < len(before) < len(whole)
        await cluster.lenders[0].says(r"(?s)what lends memory has ended.*lending memory ")
        order.task.shards.CopyFrom(cluster.plan())
        after = [part async for part in client.run(order.task)]
        assert not any(part.started_over for part in after)
        assert before + [t for part in after for t in part.tokens] == whole


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
    async with cluster.client() as client:
        assert (await answer(client, cluster.plan()))[-1].final


async def test_an_rpc_server_that_dies_is_started_again(cluster: Cluster) -> None:
    lender = cluster.lenders[0]
    before = cluster.rpc_server(lender)
    before.kill()
    await lender.says(r"(?s)what lends memory has ended.*lending memory ")
    assert cluster.rpc_server(lender).pid != before.pid


async def test_nothing_that_lends_outlives_its_worker(cluster: Cluster) -> None:
    children = psutil.Process(cluster.lenders[0].pid).children(recursive=True)
    assert len(children) >= 2
    await cluster.lenders[0].kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 20)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
