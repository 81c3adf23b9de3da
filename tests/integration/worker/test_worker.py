"""A real worker with real torch behind a real head."""

import asyncio
import contextlib
import re
import signal

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

TOKEN = "hf_ThisMustNeverBeSeenAnywhere"


@pytest.fixture(scope="module")
def head(start):
    return start("head")


@pytest.fixture(scope="module")
def worker(start, head, models_dir):
    return start(
        "worker",
        {"HF_TOKEN": TOKEN},
        heads=[head.address],
        models_dir=models_dir,
        models=["tiny"],
        name="first",
        quantization="none",
        ram_limit=1 << 30,
    )


@pytest.fixture
async def cluster(head, worker):
    worker.said("serving")
    async with ClusterClient([head.address]) as client:
        yield client


def text(prompt: str, **options) -> pb.Task:
    return pb.Task(model="tiny", stream=True, text=pb.TextTask(prompt=prompt, seed=7, **options))


async def status_of(client: ClusterClient) -> pb.ClusterStatus:
    return (await client.answer(pb.Task(status=pb.StatusTask()))).status


async def until(holds, client: ClusterClient) -> pb.Heartbeat:
    """Wait until what the head knows of its one worker is as it should be."""
    for _ in range(100):
        for found in (await status_of(client)).workers:
            if holds(found.heartbeat):
                return found.heartbeat
        await asyncio.sleep(0.1)
    raise AssertionError(f"never came: {await status_of(client)}")


async def test_text_is_streamed_and_counted(cluster, worker):
    parts = [part async for part in cluster.run(text("The quick", max_tokens=20))]
    # How many parts depends on the machine: those that come at once are joined.
    assert len(parts) > 1 and parts[-1].final
    assert sum(len(part.tokens) for part in parts) == parts[-1].usage.completion_tokens
    assert parts[-1].finish_reason in (pb.FINISH_REASON_STOP, pb.FINISH_REASON_LENGTH)
    assert {part.worker_id for part in parts} == {worker.worker_id}


async def test_answer_comes_in_one_part_where_no_stream_is_asked_for(cluster):
    streamed = await cluster.answer(text("The quick", max_tokens=20))
    task = text("The quick", max_tokens=20)
    task.stream = False
    parts = [part async for part in cluster.run(task)]
    assert len(parts) == 1 and parts[0].text == streamed.text


async def test_another_model_is_loaded_when_a_task_needs_it(cluster):
    task = pb.Task(model="sentences", embed=pb.EmbedTask(inputs=["a fox", "a dog"]))
    result = await cluster.answer(task)
    assert [len(embedding.values) for embedding in result.embeddings] == [32, 32]
    await until(
        lambda beat: (
            {m.name: m.state for m in beat.models} == {"tiny": pb.LOADED, "sentences": pb.LOADED}
        ),
        cluster,
    )


async def test_load_task_says_how_far_it_is_and_that_it_is_done(cluster):
    task = pb.Task(model="sentences", stream=True, load=pb.LoadTask())
    parts = [part async for part in cluster.run(task)]
    assert parts[-1].final


async def test_heartbeat_tells_what_the_worker_is(cluster, worker):
    await cluster.answer(text("go", max_tokens=40))
    beat = await until(lambda beat: beat.tokens_per_second > 0, cluster)
    assert (beat.worker_id, beat.name, beat.state) == (worker.worker_id, "first", pb.READY)
    assert beat.backend == pb.CPU and beat.device and beat.slots == 32 and beat.tasks_done > 0
    assert 0 < beat.ram.free <= 1 << 30 and beat.ram.total > 1 << 30
    (tiny,) = [model for model in beat.models if model.name == "tiny"]
    assert (tiny.kind, tiny.quantization, tiny.placement) == (pb.TEXT, "none", "ram")
    assert tiny.bytes > 0 and tiny.rate > 0


@pytest.mark.parametrize(
    ("model", "code"),
    [("tinny", pb.NO_WORKER), ("../tiny", pb.BAD_REQUEST), ("/etc/passwd", pb.BAD_REQUEST)],
)
async def test_wrong_names_are_refused_with_advice(cluster, model, code):
    task = text("go")
    task.model = model
    with pytest.raises(TaskError) as caught:
        await cluster.answer(task)
    assert caught.value.remedy and caught.value.code in (code, pb.NO_WORKER, pb.MODEL_NOT_FOUND)


async def metrics_of(worker) -> str:
    return (await worker.get("/metrics"))[1]


async def test_cancelled_task_ends_on_the_worker(cluster, worker):
    async with contextlib.aclosing(cluster.run(text("go", max_tokens=200))) as parts:
        async for _ in parts:
            break
    cancelled = 'daiic_worker_tasks_total{kind="text",outcome="CANCELLED"} 1.0'
    for _ in range(50):
        if cancelled in await metrics_of(worker):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(await metrics_of(worker))


async def test_metrics_and_readiness_are_served(cluster, worker):
    await cluster.answer(text("go", max_tokens=5))
    assert await worker.get("/readyz") == (200, "ready\n")
    metrics = await metrics_of(worker)
    done = re.search(r'daiic_worker_tasks_total\{kind="text",outcome="DONE"\} (\S+)', metrics)
    assert float(done.group(1)) > 0
    assert 'daiic_worker_model{model="tiny",state="loaded"} 1.0' in metrics
    assert float(re.search(r"daiic_worker_first_token_seconds_count (\S+)", metrics).group(1)) > 0
    assert float(re.search(r"daiic_wire_datagrams_received_total (\S+)", metrics).group(1)) > 0


async def test_token_and_prompts_are_nowhere_to_be_seen(cluster, worker, head):
    prompt = "xyzzy plugh"
    await cluster.answer(text(prompt, max_tokens=5))
    status = (await status_of(cluster)).SerializeToString()
    for place in (worker.log, head.log, str(status)):
        assert TOKEN not in place and prompt not in place


async def test_worker_is_registered_again_after_its_head_was_restarted(
    each_head, start, models_dir
):
    first = start("head")
    worker = start("worker", heads=[first.address], models_dir=models_dir)
    worker.said("serving")
    first.signal(signal.SIGKILL)
    first.process.wait()
    second = start("head", listen=first.address)
    async with ClusterClient([second.address]) as client:
        await until(lambda beat: beat.state == pb.READY, client)
        answer = await client.answer(text("The quick", max_tokens=5))
    assert answer.tokens and answer.worker_id == worker.worker_id
