"""Like workers compute a model together: its own answers, also after a rank has died."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.models.tiny_models import language_model
from support.processes.head_process import HeadProcess
from support.processes.heartbeats import heartbeat_of
from support.processes.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(shutil.which("stunnel") is None, reason="needs stunnel")
MODEL = "tiny"
NAMES = ("lead", "other")


class Cluster:
    """A head and two workers that have a model, and compute slices over loopback."""

    def __init__(self, place: Path, *, ends: bool = False) -> None:
        self.key = place / "key"
        ClusterKey.generate().save(self.key)
        self.models = {name: place / f"{name}-models" for name in NAMES}
        for folder in self.models.values():
            language_model(folder / MODEL, ends=ends)
        self.head = HeadProcess(cluster_key_file=self.key)
        self.workers: dict[str, WorkerProcess] = {}
        self._place = place

    async def start(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.head)
        for name in NAMES:
            self.workers[name] = await stack.enter_async_context(
                WorkerProcess(
                    heads=self.head.address,
                    cluster_key_file=self.key,
                    models_dir=self.models[name],
                    cache_dir=self._place / f"{name}-cache",
                    state_dir=self._place / name,
                    name=name,
                    allow_downloads=False,
                    quantization="none",
                    precision="float32",
                    shard_interface="lo",
                )
            )
        for worker in self.workers.values():
            await worker.says(r"computing slices for others .*listen=(\S+)")

    def client(self) -> ClusterClient:
        return ClusterClient([self.head.address], key=ClusterKey.load(self.key))

    def asking_lead(self) -> ClusterClient:
        """Return a client of the worker that leads: heads take no plans."""
        lead = self.workers["lead"]
        return ClusterClient([lead.address], key=ClusterKey.load(self.key))

    def address(self) -> str:
        said = r"(?s).*computing slices for others [^\n]*listen=(\S+)"
        return self.workers["other"].said(said)

    def task(self, text: pb.TextTask, *, split: bool = True) -> pb.Task:
        """Return a task that "lead" runs, alone or with "other"."""
        task = pb.Task(
            model=MODEL, text=text, stream=True, worker_id=self.workers["lead"].worker_id
        )
        if split:
            other = self.workers["other"]
            task.shards.members.add(
                worker_id=other.worker_id, name="other", address=self.address(), bytes=1
            )
        return task


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(tmp_path)
        await made.start(stack)
        yield made


def rank_of(worker: WorkerProcess) -> psutil.Process:
    """Return the process that computes a slice for `worker`."""
    (found,) = (
        child
        for child in psutil.Process(worker.pid).children(recursive=True)
        if "daiic.worker.slices.process" in " ".join(child.cmdline())
    )
    return found


def asked(words: str = "The quick brown fox", **wanted: object) -> pb.TextTask:
    return pb.TextTask(prompt=words, **{"max_tokens": 40, "temperature": 0.0, **wanted})


TEXTS = [
    asked(),
    asked("The dog", temperature=0.9, seed=7),
    asked("Grüße aus Köln: schöne Häuser", top_k=20, temperature=0.7, seed=3),
    asked("word " * 30),
]


async def tokens(client: ClusterClient, task: pb.Task) -> list[int]:
    return [token async for part in client.run(task) for token in part.tokens]


async def answer(
    client: ClusterClient, task: pb.Task
) -> tuple[str, list[int], list[pb.TokenLogprobs]]:
    """Return the text of an answer, its tokens, and what is told of them."""
    parts = [part async for part in client.run(task)]
    return (
        "".join(part.text for part in parts),
        [token for part in parts for token in part.tokens],
        [one for part in parts for one in part.logprobs],
    )


async def test_answers_are_those_of_the_whole_model_and_status_tells_who_holds_what(
    cluster: Cluster,
) -> None:
    async with cluster.client() as client:
        wanted = [await tokens(client, cluster.task(text, split=False)) for text in TEXTS]
        assert all(wanted)
        whole = (await heartbeat_of(client, "lead")).models[0].identity
        await cluster.workers["lead"].kill()
        await cluster.workers["lead"].restart()
        await cluster.workers["lead"].says(r"computing slices for others .*listen=(\S+)")
        tasks = [cluster.task(text) for text in TEXTS]
        async with cluster.asking_lead() as asking:
            assert list(await asyncio.gather(*(tokens(asking, task) for task in tasks))) == wanted
        while not (model := (await heartbeat_of(client, "lead")).models[0]).shards:
            await asyncio.sleep(0.2)
        assert [shard.name for shard in model.shards] == ["lead", "other"]
        assert all((shard.slices, shard.layers) == (2, 2) for shard in model.shards)
        first, second = (shard.bytes for shard in model.shards)
        size = (cluster.models["lead"] / MODEL / "model.safetensors").stat().st_size
        assert 0 < first < 0.7 * size and first == second
        assert model.identity == whole
        assert model.engine == "transformers"
    ranks = [rank_of(worker) for worker in cluster.workers.values()]
    await cluster.workers["lead"].kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, ranks, 30)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


async def test_what_shapes_an_answer_shapes_it_in_slices_too(tmp_path: Path) -> None:
    drawn = {"temperature": 1.0, "seed": 5}
    shaped = [
        asked(constraint=pb.Constraint(regex="[a-f]{12} (yes|no)"), **drawn),
        asked(sampling=pb.Sampling(min_p=0.1, presence_penalty=1.5, logprobs=2), **drawn),
        pb.TextTask(prompt_tokens=range(40, 60), max_tokens=20, **drawn),
        asked(**drawn),
    ]
    async with AsyncExitStack() as stack:
        cluster = Cluster(tmp_path, ends=True)
        await cluster.start(stack)
        client = await stack.enter_async_context(cluster.client())
        wanted = [await answer(client, cluster.task(text, split=False)) for text in shaped]
        await cluster.workers["lead"].kill()
        await cluster.workers["lead"].restart()
        await cluster.workers["lead"].says(r"computing slices for others .*listen=(\S+)")
        asking = await stack.enter_async_context(cluster.asking_lead())
        made = await asyncio.gather(*(answer(asking, cluster.task(text)) for text in shaped))
        assert [tokens for _, tokens, _ in made] == [tokens for _, tokens, _ in wanted]
        assert re.fullmatch("[a-f]{12} (yes|no)", made[0][0])
        assert len({tuple(tokens) for _, tokens, _ in made}) == len(made)
        told = made[1][2]
        assert told and all(len(one.likeliest) == 2 for one in told)
        assert [one.token.logprob for one in told] == pytest.approx(
            [one.token.logprob for one in wanted[1][2]], abs=1e-3
        )
        rank = rank_of(cluster.workers["lead"])
        for refused in (
            asked(constraint=pb.Constraint(regex="[a-")),
            asked(sampling=pb.Sampling(logit_bias={1 << 20: 1})),
            pb.TextTask(prompt_tokens=[1 << 20]),
        ):
            with pytest.raises(TaskError) as error:
                await answer(asking, cluster.task(refused))
            assert error.value.code == pb.BAD_REQUEST
        assert rank_of(cluster.workers["lead"]) == rank
        while not (model := (await heartbeat_of(client, "lead")).models[0]).shards:
            await asyncio.sleep(0.2)
        can = set(model.capabilities)
        assert can == {pb.COMPLETE, pb.CHAT, pb.SCHEMA, pb.SAMPLING, pb.TOKENS}


async def test_the_first_rank_killed_in_mid_answer_costs_no_token_of_it(cluster: Cluster) -> None:
    text = asked(max_tokens=200)
    async with cluster.asking_lead() as client:
        wanted = await tokens(client, cluster.task(text))
        done = pb.Resume()
        killed = None
        with pytest.raises(TaskError) as error:
            async for part in client.run(cluster.task(text)):
                done.tokens.extend(part.tokens)
                done.text += part.text
                done.index = part.index + 1
                if part.HasField("model"):
                    done.model.CopyFrom(part.model)
                if part.tokens and killed is None:
                    killed = rank_of(cluster.workers["lead"])
                    killed.kill()
        assert error.value.code == pb.WORKER_LOST
        again = cluster.task(text)
        again.resume.CopyFrom(done)  # as a head would
        assert [*done.tokens, *await tokens(client, again)] == wanted
        assert killed is not None
        assert rank_of(cluster.workers["lead"]).pid != killed.pid
    assert "an engine died" in cluster.workers["lead"].log


async def test_who_cannot_compute_the_same_is_refused_with_the_reason(cluster: Cluster) -> None:
    weights = cluster.models["other"] / MODEL / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    async with cluster.asking_lead() as client:
        with pytest.raises(TaskError) as error:
            await tokens(client, cluster.task(asked()))
    assert "has another tiny than the one that leads" in error.value.message


async def test_who_does_not_know_the_secret_gets_nothing(cluster: Cluster) -> None:
    host, port = cluster.address().rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.settimeout(20)
        plain.sendall(bytes(64))
        heard = b""
        try:
            while more := plain.recv(4096):
                heard += more
        except ConnectionError:
            pass
        assert not heard or heard[0] == 21  # a TLS alert
    worker = psutil.Process(cluster.workers["other"].pid)
    inside = [
        one.laddr
        for one in worker.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port != int(port)
    ]
    assert inside
    for address in inside:
        with socket.create_connection(address[:2], 10) as local:
            local.settimeout(20)
            local.sendall((96).to_bytes(4) + b"a" + bytes(96))
            heard = b""
            while more := local.recv(4096):
                heard += more
        assert len(heard) in (0, 37) or heard.startswith(b"HTTP/1.1 400")


async def test_workers_that_cannot_hold_it_compute_it_together_also_when_one_loses_its_slice(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    # 600 MiB: 860 are needed for all of it, 760 for a half, and 640 for a third.
    language_model(
        models / MODEL, hidden_size=384, intermediate_size=8190, layers=16, heads=6, context=128
    )
    key = tmp_path / "key"
    ClusterKey.generate().save(key)
    async with AsyncExitStack() as stack:
        head = await stack.enter_async_context(HeadProcess(cluster_key_file=key))
        workers = {}
        for name in ("one", "two", "three"):
            workers[name] = await stack.enter_async_context(
                WorkerProcess(
                    heads=head.address,
                    cluster_key_file=key,
                    models_dir=models,
                    state_dir=tmp_path / name,
                    name=name,
                    ram_limit=700 << 20,
                    quantization="none",
                    precision="float32",
                    shard_interface="lo",
                    allow_downloads=False,
                )
            )
        for worker in workers.values():
            await worker.says("computing slices for others")
        async with ClusterClient([head.address], key=ClusterKey.load(key)) as client:
            while not all(
                one.heartbeat.shard.slice_bytes and one.heartbeat.models
                for one in (await client.status()).workers
            ):
                await asyncio.sleep(0.2)
            task = pb.Task(model=MODEL, text=asked(max_tokens=24), stream=True)
            made: list[int] = []
            killed = False
            async for part in client.run(task):
                assert not part.started_over
                made += part.tokens
                if part.tokens and not killed:
                    shards = await shards_in(client)
                    assert {shard.name for shard in shards} == workers.keys()
                    assert {shard.slices for shard in shards} == {3}
                    rank_of(workers[shards[1].name]).kill()
                    killed = True
    assert made == whole_answer(models / MODEL, task.text)


async def shards_in(client: ClusterClient) -> list[pb.Shard]:
    """Return who holds which part of the model."""
    while True:
        for one in (await client.status()).workers:
            for model in one.heartbeat.models:
                if model.shards:
                    return list(model.shards)
        await asyncio.sleep(0.2)


def whole_answer(model: Path, text: pb.TextTask) -> list[int]:
    """Return what transformers' own `generate` answers."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    whole = AutoModelForCausalLM.from_pretrained(model)
    asked = tokenizer(text.prompt, return_tensors="pt").input_ids
    made = whole.generate(asked, do_sample=False, max_new_tokens=text.max_tokens)
    return made[0, asked.shape[1] :].tolist()
