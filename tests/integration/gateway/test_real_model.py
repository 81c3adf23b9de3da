"""What a client asks of a real model: a GGUF file on llama.cpp, behind a head and a gateway."""

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.llama_cpp.running import PATH, PROGRAMS
from support.models import tiny_gguf
from support.peers.tool_caller import CITY
from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(
    not (PROGRAMS / "llama-server").exists(),
    reason="needs tests/support/llama_cpp/fetch.sh .venv/llama.cpp",
)
TEMPLATE = (Path(__file__).parents[2] / "support" / "models" / "tools.jinja").read_text()
CALLS = (
    *("<think>\n", "Let me", " look.\n", "</think>\n\n", "I will ask."),
    *("\n<tool_call>\n", '{"name": "', "weather", '", "argu', 'ments": {"city": "'),
    *("Kö", "ln", '"}', "}\n</tool_call>"),
)
SAY = [{"role": "user", "content": "Where is it?"}]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    models = tmp_path / "models"
    models.mkdir()
    tiny_gguf.chat_model(models / "chat.gguf")
    tiny_gguf.scripted_model(models / "calls.gguf", *CALLS, template=TEMPLATE)
    async with (
        HeadProcess(http_listen="") as head,
        WorkerProcess(
            PATH,
            heads=head.address,
            models=["chat.gguf", "calls.gguf"],
            models_dir=models,
            state_dir=tmp_path / "state",
            allow_downloads=False,
        ),
        gateway_process(f"--heads={head.address}") as gateway,
    ):
        async with ClusterClient([head.address]) as cluster:
            for name in ("chat.gguf", "calls.gguf"):
                await cluster.answer(pb.Task(model=name, load=pb.LoadTask()))
        await gateway.ready()
        yield gateway


async def test_formats_tools_and_log_probabilities_end_to_end(gateway: RunningGateway) -> None:
    client = gateway.openai

    async def said(**asked: object) -> str:
        answer = await client.chat.completions.create(
            model="chat.gguf", messages=SAY, seed=3, max_tokens=60, **asked
        )
        return answer.choices[0].message.content

    city = {
        **CITY,
        "properties": {"city": {"type": "string", "maxLength": 8}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": city, "strict": True}}
    told = json.loads(await said(response_format=form))
    assert list(told) == ["city"] and len(told["city"]) <= 8
    choice = {"structured_outputs": {"choice": ["Rome", "Oslo."]}}
    assert await said(extra_body=choice) in ("Rome", "Oslo.")
    assert (await said(extra_body={"regex": "[0-9]{3}"})).isdecimal()

    answer = await client.chat.completions.create(
        model="chat.gguf", messages=SAY, logprobs=True, top_logprobs=2, max_tokens=3, temperature=0
    )
    choice = answer.choices[0]
    assert "".join(one.token for one in choice.logprobs.content) == choice.message.content
    for one in choice.logprobs.content:
        assert math.isclose(one.logprob, max(top.logprob for top in one.top_logprobs))

    weather = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
    called = await client.chat.completions.create(
        model="calls.gguf", messages=SAY, tools=[weather], temperature=0
    )
    message = called.choices[0].message
    assert called.choices[0].finish_reason == "tool_calls"
    assert message.reasoning_content.strip() == "Let me look."
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Köln"}
    assert called.usage.completion_tokens_details.reasoning_tokens > 0

    wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}
    with pytest.raises(openai.BadRequestError, match="json_schema") as refused:
        await said(response_format=wrong)
    assert refused.value.param == "response_format.json_schema.schema"
    with pytest.raises(openai.BadRequestError, match=r"models that can: calls\.gguf"):
        await said(tools=[weather])
