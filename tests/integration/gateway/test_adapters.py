"""A model with an adapter is a model of its own to clients, and a task with an adapter to heads."""

import asyncio

import openai
import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

SAY = [{"role": "user", "content": "one two"}]


@pytest.fixture
async def adapting(gateway: RunningGateway, head: ScriptedHead) -> RunningGateway:
    for model in head.status.workers[0].heartbeat.models:
        if model.name == "stub-chat":
            model.capabilities.extend([pb.CHAT, pb.COMPLETE, pb.EMBED, pb.ADAPTERS])
            model.adapters.append("pirate")
    async with asyncio.timeout(30):
        while "stub-chat:pirate" not in [
            model.id for model in (await gateway.openai.models.list()).data
        ]:
            await asyncio.sleep(0.1)
    return gateway


async def test_it_is_listed_with_its_base_and_shown(adapting: RunningGateway) -> None:
    client = adapting.openai
    models = {model.id: model for model in (await client.models.list()).data}
    assert models["stub-chat:pirate"].parent == "stub-chat" and models["stub-chat"].parent is None
    assert "adapters" in models["stub-chat"].capabilities
    shown = await client.models.retrieve("stub-chat:pirate")
    assert shown.kind == "text" and shown.capabilities == ["chat", "complete", "adapters"]


async def test_a_task_names_the_model_and_the_adapter_apart(
    adapting: RunningGateway, head: ScriptedHead
) -> None:
    for name, adapters in (("stub-chat:pirate", ["pirate"]), ("stub-chat", [])):
        answer = await adapting.openai.chat.completions.create(model=name, messages=SAY)
        assert answer.choices[0].message.content == "one two" and answer.model == name
        task = head.tasks[-1]
        assert task.model == "stub-chat"
        assert [adapter.name for adapter in task.adapters] == adapters


async def test_an_adapter_that_is_not_there_is_no_model(adapting: RunningGateway) -> None:
    with pytest.raises(openai.NotFoundError, match="stub-chat:pirate"):
        await adapting.openai.models.retrieve("stub-chat:poet")
