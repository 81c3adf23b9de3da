"""The models that this repository ships, end to end through a head."""

import contextlib
import json
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.gateway.text.tool_calls import whole_calls
from daiic.wire import daiic_pb2 as pb

MODELS = Path(__file__).parents[3] / "local-models"


@pytest.fixture(scope="module")
def head(start):
    head = start("head")
    worker = start("worker", heads=[head.address], models_dir=MODELS, ram_limit=1 << 30)
    worker.said("serving")
    return head


@pytest.fixture
async def client(head):
    async with ClusterClient([head.address]) as client:
        yield client


async def test_chat_is_answered_in_words(client):
    messages = [pb.ChatMessage(role="user", content="Hello, who are you?")]
    task = pb.Task(
        model="daiic-tiny-chat",
        stream=True,
        text=pb.TextTask(messages=messages, seed=1, max_tokens=40),
    )
    result = await client.answer(task)
    assert len(result.text.split()) > 2 and result.usage.completion_tokens > 2


WEATHER = pb.Tool(
    name="get_weather",
    description="Get the weather in a city.",
    parameters=json.dumps({"properties": {"city": {"type": "string"}}, "required": ["city"]}),
)


async def test_a_question_that_a_tool_answers_is_a_call_of_it_and_its_result_is_told(client):
    text = pb.TextTask(tools=[WEATHER], temperature=0.0, max_tokens=100)
    text.messages.add(role="user", content="What is the weather in Oslo?")
    task = pb.Task(model="daiic-tiny-chat", stream=True, text=text)
    call = whole_calls((await client.answer(task)).tool_calls)[0]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Oslo"}
    made = pb.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
    task.text.messages.add(role="assistant", tool_calls=[made])
    task.text.messages.add(role="tool", tool_call_id=call.id, content="sunny")
    assert "sunny" in (await client.answer(task)).text


async def test_it_thinks_aloud_when_asked_to(client):
    messages = [pb.ChatMessage(role="user", content="What is a head?")]
    text = pb.TextTask(messages=messages, temperature=0.0, reasoning_effort="high", max_tokens=150)
    result = await client.answer(pb.Task(model="daiic-tiny-chat", stream=True, text=text))
    assert result.reasoning and result.text and result.usage.reasoning_tokens


async def test_image_is_drawn_step_by_step(client):
    task = pb.Task(
        model="tiny-shapes.safetensors",
        stream=True,
        image=pb.ImageTask(prompt="a red circle", steps=4, seed=1, n=2),
    )
    async with contextlib.aclosing(client.run(task)) as stream:
        parts = [part async for part in stream]
    steps = [part.progress.done for part in parts if part.progress.phase == "steps"]
    assert steps == list(range(1, 9))
    images = [image for part in parts for image in part.images]
    assert len(images) == 2 and len({image.seed for image in images}) == 2
    assert all(image.png.startswith(b"\x89PNG\r\n") for image in images)


async def test_passages_are_ranked_by_what_they_answer(client):
    documents = [
        "Bananas are yellow, and so is the sun.",
        "Every evening the keeper climbed the stairs and lit the lamp of the lighthouse.",
        "A GPU is a processor with thousands of small cores.",
    ]
    for query, best in (("what is a GPU?", 2), ("tell me about the lighthouse", 1)):
        work = pb.RerankTask(query=query, documents=documents)
        result = await client.answer(pb.Task(model="tiny-reranker", rerank=work))
        scores = list(result.scores)
        assert scores.index(max(scores)) == best and max(scores) > 0.5
        assert sorted(scores)[1] < 0.1


async def test_language_model_embeds_by_the_way(client):
    task = pb.Task(model="daiic-tiny-chat", embed=pb.EmbedTask(inputs=["a fox", "a dog"]))
    result = await client.answer(task)
    first, second = (list(embedding.values) for embedding in result.embeddings)
    assert len(first) == len(second) > 8 and first != second
