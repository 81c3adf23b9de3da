"""Frameworks for agents and applications, unchanged, on this gateway.

The model is scripted: what is tested is that each side understands the other, to the end.
"""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a list of prices

import agents
import litellm
import pydantic
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from support.peers.scripted_head import ScriptedHead
from support.peers.tool_caller import asks_then_tells, says_json, thinks_says_calls
from support.processes.gateway_process import RunningGateway


class City(pydantic.BaseModel):
    city: str


@agents.function_tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"warm in {city}"


@pytest.fixture(autouse=True)
def no_tracing() -> None:
    agents.set_tracing_disabled(True)


@pytest.mark.parametrize("kind", [agents.OpenAIChatCompletionsModel, agents.OpenAIResponsesModel])
async def test_openai_agents_run_a_loop_of_tools_to_its_end(
    gateway: RunningGateway, head: ScriptedHead, kind: type[agents.Model]
) -> None:
    head.script = asks_then_tells
    agent = agents.Agent(
        name="forecaster",
        instructions="Say how the weather is.",
        tools=[weather],
        model=kind(model="stub-chat", openai_client=gateway.openai),
    )
    whole = await agents.Runner.run(agent, "How is it in Rome?")
    assert whole.final_output == "It is warm in Rome."
    streamed = agents.Runner.run_streamed(agent, "How is it in Rome?")
    kinds = [event.type async for event in streamed.stream_events()]
    assert streamed.final_output == "It is warm in Rome."
    assert "raw_response_event" in kinds
    # Each run asks twice: for the call, and for what to say of its result.
    assert [len(task.text.messages) for task in head.tasks] == [2, 4, 2, 4]
    assert [task.text.messages[-1].content for task in head.tasks[1::2]] == ["warm in Rome"] * 2


@pytest.mark.parametrize("kind", [agents.OpenAIChatCompletionsModel, agents.OpenAIResponsesModel])
async def test_openai_agents_get_answers_of_a_type(
    gateway: RunningGateway, head: ScriptedHead, kind: type[agents.Model]
) -> None:
    head.script = says_json
    agent = agents.Agent(
        name="finder",
        output_type=City,
        model=kind(model="stub-chat", openai_client=gateway.openai),
    )
    assert (await agents.Runner.run(agent, "Where?")).final_output == City(city="Rome")
    assert head.tasks[0].text.constraint.json_schema


async def test_langchain_gets_structured_output_and_calls_of_tools(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    @tool
    def weather_of(city: str) -> str:
        """Return the weather of a city."""
        return city

    for through_responses in (False, True):
        chat = ChatOpenAI(
            model="stub-chat",
            base_url=f"{gateway.url}/v1",
            api_key="none",
            use_responses_api=through_responses,
        )
        head.script = says_json
        assert await chat.with_structured_output(City).ainvoke("Where?") == City(city="Rome")
        head.script = asks_then_tells
        called = await chat.bind_tools([weather_of]).ainvoke("How is it in Rome?")
        (call,) = called.tool_calls
        assert (call["name"], call["args"]) == ("weather_of", {"city": "Rome"})
    function = chat.with_structured_output(City, method="function_calling")
    assert await function.ainvoke("Where?") == City(city="Rome")
    assert head.tasks[-1].text.tool_choice.name == "City"


async def test_litellm_talks_to_it_as_to_any_openai_server(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = thinks_says_calls
    asked = {
        "model": "openai/stub-chat",
        "api_base": f"{gateway.url}/v1",
        "api_key": "none",
        "messages": [{"role": "user", "content": "How is it?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
    }
    whole = await litellm.acompletion(**asked)
    message = whole.choices[0].message
    assert (message.content, message.reasoning_content) == ("Asking now.", "let me see")
    assert [call.function.arguments for call in message.tool_calls] == [
        '{"city":"Rome"}',
        '{"city":"Oslo"}',
    ]
    stream = await litellm.acompletion(**asked, stream=True)
    chunks = [chunk async for chunk in stream]
    built = litellm.stream_chunk_builder(chunks).choices[0].message
    assert built.content == "Asking now."
    assert [call.function.arguments for call in built.tool_calls] == [
        '{"city":"Rome"}',
        '{"city":"Oslo"}',
    ]
