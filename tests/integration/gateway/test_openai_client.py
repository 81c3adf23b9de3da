"""The real `openai` client gets from this gateway what it gets from OpenAI."""

import base64
import struct

import httpx
import langchain_openai
import openai
import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import PNG, ScriptedHead, failing
from support.processes.gateway_process import RunningGateway

SAY = [
    {"role": "developer", "content": "be brief"},
    {
        "role": "user",
        "content": [{"type": "text", "text": "one two "}, {"type": "text", "text": "three"}],
    },
]


async def test_models_are_listed_and_shown(gateway: RunningGateway) -> None:
    client = gateway.openai
    models = {model.id: model for model in (await client.models.list()).data}
    assert set(models) == {"stub-chat", "stub/image", "stub-embed", "stub-rerank"}
    shown = await client.models.retrieve("stub/image")
    assert shown.object == "model" and shown.created > 1_700_000_000
    capabilities = {name: model.capabilities for name, model in models.items()}
    assert capabilities == {
        "stub-chat": ["chat", "complete", "embed"],
        "stub/image": ["paint"],
        "stub-embed": ["embed"],
        "stub-rerank": ["rerank"],
    }
    with pytest.raises(openai.NotFoundError, match="stub-chat"):
        await client.models.retrieve("other")


async def test_chat_answers_whole(gateway: RunningGateway, head: ScriptedHead) -> None:
    answer = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, seed=-1, temperature=0.5, top_p=0.9, stop="x", max_tokens=9
    )
    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 10
    text = head.tasks[0].text
    assert [message.role for message in text.messages] == ["system", "user"]
    assert (text.seed, list(text.stop), text.max_tokens) == (2**64 - 1, ["x"], 9)
    assert (round(text.temperature, 3), round(text.top_p, 3)) == (0.5, 0.9)
    assert head.tasks[0].model == "stub-chat" and head.tasks[0].deadline_ms == 600_000


async def test_chat_streams_with_usage(gateway: RunningGateway) -> None:
    stream = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, stream=True, stream_options={"include_usage": True}
    )
    events = [event async for event in stream]
    assert events[0].choices[0].delta.role == "assistant"
    said = [e.choices[0].delta.content for e in events if e.choices and e.choices[0].delta.content]
    assert said == ["one", " two", " three"]
    assert [e.choices[0].finish_reason for e in events if e.choices][-1] == "stop"
    assert events[-1].choices == [] and events[-1].usage.total_tokens == 10
    assert len({event.id for event in events}) == 1


async def test_several_choices_have_seeds_of_their_own(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    answer = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, n=3, seed=41
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert sorted(task.text.seed for task in head.tasks) == [41, 42, 43]
    assert answer.usage.prompt_tokens == 7 and answer.usage.completion_tokens == 9


async def test_several_choices_stream_together(gateway: RunningGateway) -> None:
    stream = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, n=2, stream=True
    )
    said = {0: "", 1: ""}
    async for event in stream:
        said[event.choices[0].index] += event.choices[0].delta.content or ""
    assert said == {0: "one two three", 1: "one two three"}


async def test_completions_take_several_prompts(gateway: RunningGateway) -> None:
    client = gateway.openai
    answer = await client.completions.create(model="stub-chat", prompt=["a b", "c"], n=2)
    assert [choice.text for choice in answer.choices] == ["a b", "a b", "c", "c"]
    assert answer.usage.prompt_tokens == 14
    stream = await client.completions.create(model="stub-chat", prompt="d e f", stream=True)
    assert "".join([event.choices[0].text async for event in stream]) == "d e f"


async def test_images_come_inline_or_by_url(gateway: RunningGateway, head: ScriptedHead) -> None:
    client = gateway.openai
    inline = await client.images.generate(
        model="stub/image",
        prompt="a cat",
        n=2,
        size="256x512",
        response_format="b64_json",
        extra_body={"seed": 5, "steps": 3, "negative_prompt": "dog", "guidance": 2},
    )
    assert [base64.b64decode(image.b64_json) for image in inline.data] == [PNG, PNG]
    image = head.tasks[0].image
    assert (image.width, image.height, image.n, image.seed, image.steps) == (256, 512, 2, 5, 3)
    assert image.negative_prompt == "dog" and image.guidance == 2
    by_url = await client.images.generate(prompt="a cat")
    async with httpx.AsyncClient() as http:
        fetched = await http.get(by_url.data[0].url)
    assert fetched.content == PNG and fetched.headers["content-type"] == "image/png"


async def test_images_stream_their_steps(gateway: RunningGateway) -> None:
    stream = await gateway.openai.images.generate(model="stub/image", prompt="a cat", stream=True)
    events = [event async for event in stream]
    assert [(event.type, event.done) for event in events[:2]] == [
        ("image_generation.progress", 1),
        ("image_generation.progress", 2),
    ]
    assert base64.b64decode(events[-1].b64_json) == PNG


async def test_what_no_model_can_do_is_refused_in_the_heads_words(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = failing(
        pb.UNSUPPORTED, "stub/image cannot make embeddings", "models that can: stub-embed"
    )
    said = "stub/image cannot make embeddings: models that can: stub-embed"
    with pytest.raises(openai.BadRequestError, match=said) as refusal:
        await gateway.openai.embeddings.create(model="stub/image", input="ab")
    assert (refusal.value.param, refusal.value.code) == ("model", "unsupported")
    assert refusal.value.type == "invalid_request_error"


async def test_embeddings_come_as_floats_and_base64(gateway: RunningGateway) -> None:
    client = gateway.openai
    for encoding in ("float", openai.NOT_GIVEN):
        answer = await client.embeddings.create(
            model="stub-embed", input=["ab", "abc"], encoding_format=encoding
        )
        assert [item.embedding for item in answer.data] == [[0.5, -1.25, 2], [0.5, -1.25, 3]]
    async with gateway.http as http:
        raw = await http.post(
            "/v1/embeddings",
            json={"model": "stub-embed", "input": "a", "encoding_format": "base64"},
        )
    assert base64.b64decode(raw.json()["data"][0]["embedding"]) == struct.pack("<3f", 0.5, -1.25, 1)


async def test_embeddings_by_tokens_dimensions_and_prompt_reach_the_worker(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = gateway.openai
    answer = await client.embeddings.create(
        model="stub-embed", input=[[1, 2, 3], [7]], dimensions=3, user="somebody"
    )
    assert [item.embedding[2] for item in answer.data] == [3, 1]
    asked = head.tasks[-1].embed
    assert [list(one.tokens) for one in asked.token_inputs] == [[1, 2, 3], [7]]
    assert (list(asked.inputs), asked.dimensions, asked.prompt_name) == ([], 3, "")
    answer = await client.embeddings.create(model="stub-embed", input=[4, 5])
    assert [item.embedding[2] for item in answer.data] == [2]
    for field in ("prompt_name", "input_type", "task"):
        await client.embeddings.create(
            model="stub-embed", input="a", extra_body={field: "search_query"}
        )
        assert head.tasks[-1].embed.prompt_name == "search_query"


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        (pb.BAD_REQUEST, openai.BadRequestError, 400),
        (pb.MODEL_GATED, openai.PermissionDeniedError, 403),
        (pb.MODEL_NOT_FOUND, openai.NotFoundError, 404),
        (pb.QUEUE_FULL, openai.RateLimitError, 429),
        (pb.INTERNAL, openai.InternalServerError, 500),
        (pb.NO_WORKER, openai.InternalServerError, 503),
        (pb.DEADLINE_EXCEEDED, openai.InternalServerError, 504),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_task_errors_become_openai_errors(
    gateway: RunningGateway,
    head: ScriptedHead,
    code: pb.ErrorCode,
    kind: type[openai.APIStatusError],
    status: int,
    stream: bool,
) -> None:
    head.script = failing(code, "it went wrong", "do this")
    with pytest.raises(kind, match="it went wrong: do this") as raised:
        await gateway.openai.chat.completions.create(model="stub-chat", messages=SAY, stream=stream)
    assert raised.value.status_code == status
    assert raised.value.code == pb.ErrorCode.Name(code).lower()
    retriable = code in (pb.QUEUE_FULL, pb.NO_WORKER)
    assert ("retry-after" in raised.value.response.headers) == retriable


async def test_an_error_in_a_started_stream_reaches_the_client(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def breaks(task: pb.Task):
        yield pb.Result(text="one", tokens=[1])
        async for part in failing(pb.WORKER_LOST, "the worker is gone")(task):
            yield part

    head.script = breaks
    stream = await gateway.openai.chat.completions.create(
        model="stub-chat", messages=SAY, stream=True
    )
    said = []
    with pytest.raises(openai.APIError, match="the worker is gone"):
        async for event in stream:
            said.append(event.choices[0].delta.content)
    assert "one" in said


async def test_langchains_embeddings_send_texts_when_told_to(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    embeddings = langchain_openai.OpenAIEmbeddings(
        model="stub-embed",
        base_url=f"{gateway.url}/v1",
        api_key="none",
        check_embedding_ctx_length=False,
    )
    vectors = await embeddings.aembed_documents(["ab", "abc"])
    assert vectors == [[0.5, -1.25, 2], [0.5, -1.25, 3]]
    assert list(head.tasks[-1].embed.inputs) == ["ab", "abc"]
