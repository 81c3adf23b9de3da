"""The whole way: plain client, bad link, shim, head, and a worker with the shipped model."""

import asyncio
import json
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from support.links.lossy_relay import ROUGH, LossyRelay
from support.peers.plain_client import TASK, PlainClient

MODELS = Path(__file__).parents[3] / "local-models"
MODEL = "daiic-tiny-chat"
QUESTION = {
    "model": MODEL,
    "deadline_ms": 60000,
    "text": {
        "messages": [{"role": "user", "content": "Hello!"}],
        "maxTokens": 12,
        "temperature": 0,
    },
}


@pytest.fixture
async def real_worker(enter, head, tmp_path):
    pytest.importorskip("torch", reason="the worker's dependencies are not installed")
    # Here, for it imports torch.
    from support.processes.worker_process import WorkerProcess

    worker = await enter(
        WorkerProcess(
            heads=head.address,
            state_dir=tmp_path,
            models_dir=MODELS,
            models=MODEL,
            backend="cpu",
            quantization="none",
            allow_downloads=False,
        )
    )
    async with asyncio.timeout(120):
        async with ClusterClient([head.address]) as client:
            while not any(model.state == pb.LOADED for model in await client.models()):
                await asyncio.sleep(0.3)
    return worker


async def test_real_answer_is_the_same_by_every_way(launch, head, real_worker) -> None:
    shim = await launch(heads=head.address)
    await shim.until_ready()
    async with ClusterClient([head.address]) as client:
        task = pb.Task(
            model=MODEL,
            text=pb.TextTask(
                messages=[pb.ChatMessage(role="user", content="Hello!")],
                max_tokens=12,
                temperature=0,
            ),
        )
        direct = (await client.answer(task)).text
    assert direct
    async with await LossyRelay.start(shim.host_port, ROUGH, seed=9) as relay:
        with PlainClient(relay.address, acknowledges=True, answers_pings=True) as plain:
            question = json.dumps(QUESTION).encode()
            sequence = plain.send(TASK, question)
            parts: dict[int, dict[str, object]] = {}
            async with asyncio.timeout(40):
                while not any(part.get("final") for part in parts.values()):
                    try:
                        part = (await plain.answer(2)).json()
                        parts[int(part.get("index", 0))] = part
                    except TimeoutError:  # lost, the question or an acknowledgement: ask again
                        plain.send(TASK, question, sequence)
        async with ClusterClient([format_address(relay.address)]) as client:
            task.id = 0
            task.stream = True
            streamed = (await client.answer(task)).text
    assert "".join(str(parts[index].get("text", "")) for index in sorted(parts)) == direct
    assert streamed == direct
