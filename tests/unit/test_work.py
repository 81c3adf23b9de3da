"""The registry of work: it covers the schema, and says what each task needs."""

import pytest

from daiic.model_kinds import MODEL_KINDS, capabilities_of
from daiic.wire import daiic_pb2 as pb
from daiic.work import WORK, bytes_to_read, needs_of


def test_every_kind_of_task_in_the_schema_is_registered() -> None:
    work = {field.name for field in pb.Task.DESCRIPTOR.oneofs_by_name["work"].fields}
    # Heads answer the one themselves, and give workers the other themselves.
    assert set(WORK) | {"status", "unload"} == work


def test_every_kind_of_model_in_the_schema_is_registered() -> None:
    assert {pb.MODEL_KIND_UNSPECIFIED, *MODEL_KINDS} == set(pb.ModelKind.values())


def test_kinds_with_a_seed_are_those_whose_work_has_that_field() -> None:
    for name, kind in WORK.items():
        fields = pb.Task.DESCRIPTOR.fields_by_name[name].message_type.fields_by_name
        assert kind.seeded == ("seed" in fields)


@pytest.mark.parametrize(
    ("task", "needs"),
    [
        (pb.Task(text=pb.TextTask(prompt="go on")), {pb.COMPLETE}),
        (pb.Task(text=pb.TextTask(messages=[pb.ChatMessage(content="hello")])), {pb.CHAT}),
        (
            pb.Task(
                text=pb.TextTask(
                    messages=[
                        pb.ChatMessage(
                            parts=[
                                pb.ContentPart(text="what is this?"),
                                pb.ContentPart(image=pb.Media(data=b"\x89PNG")),
                                pb.ContentPart(audio=pb.Media(data=b"RIFF")),
                            ]
                        )
                    ]
                )
            ),
            {pb.CHAT, pb.SEE, pb.HEAR},
        ),
        (
            pb.Task(
                text=pb.TextTask(
                    prompt="p",
                    tools=[pb.Tool(name="look")],
                    constraint=pb.Constraint(json=True),
                    sampling=pb.Sampling(min_p=0.0),
                ),
                adapters=[pb.Adapter(name="a")],
            ),
            {pb.COMPLETE, pb.TOOLS, pb.SCHEMA, pb.SAMPLING, pb.ADAPTERS},
        ),
        (
            pb.Task(
                text=pb.TextTask(messages=[pb.ChatMessage(tool_calls=[pb.ToolCall(name="f")])])
            ),
            {pb.CHAT, pb.TOOLS},
        ),
        (pb.Task(image=pb.ImageTask(prompt="a fox")), {pb.PAINT}),
        (pb.Task(image=pb.ImageTask(image=pb.Media(data=b"\x89PNG"))), {pb.EDIT}),
        (pb.Task(image=pb.ImageTask(type="image/webp")), {pb.PAINT, pb.FORMATS}),
        (pb.Task(embed=pb.EmbedTask(inputs=["one"])), {pb.EMBED}),
        (
            pb.Task(
                embed=pb.EmbedTask(
                    token_inputs=[pb.Tokens(tokens=[1])], dimensions=8, prompt_name="query"
                )
            ),
            {pb.EMBED, pb.TOKENS, pb.DIMENSIONS, pb.PROMPTS},
        ),
        (pb.Task(text=pb.TextTask(prompt_tokens=[1])), {pb.COMPLETE, pb.TOKENS}),
        (pb.Task(transcribe=pb.TranscribeTask()), {pb.HEAR}),
        (pb.Task(speak=pb.SpeakTask(input="hello")), {pb.SPEAK}),
        (pb.Task(rerank=pb.RerankTask(query="q")), {pb.RERANK}),
        (pb.Task(load=pb.LoadTask()), set()),
        (pb.Task(text=pb.TextTask(prompt="p", sampling=pb.Sampling())), {pb.COMPLETE}),
    ],
)
def test_what_a_task_needs_follows_from_what_it_asks_for(
    task: pb.Task, needs: set[pb.Capability]
) -> None:
    assert needs_of(task) == needs


def test_a_model_that_tells_no_capabilities_has_those_of_its_kind() -> None:
    assert capabilities_of(pb.ModelStatus(kind=pb.TEXT)) == {pb.CHAT, pb.COMPLETE, pb.EMBED}
    assert capabilities_of(pb.ModelStatus(kind=pb.IMAGE)) == {pb.PAINT}
    assert capabilities_of(pb.ModelStatus(kind=pb.EMBEDDING)) == {pb.EMBED}
    assert capabilities_of(pb.ModelStatus(kind=pb.TRANSCRIPTION)) == {pb.HEAR}
    assert capabilities_of(pb.ModelStatus(kind=pb.SPEECH)) == {pb.SPEAK}
    assert capabilities_of(pb.ModelStatus(kind=pb.RERANKING)) == {pb.RERANK}
    assert capabilities_of(pb.ModelStatus()) is None


def test_a_model_that_tells_capabilities_has_those_alone() -> None:
    told = pb.ModelStatus(kind=pb.TEXT, capabilities=[pb.COMPLETE, pb.SEE])
    assert capabilities_of(told) == {pb.COMPLETE, pb.SEE}


def test_media_in_a_prompt_are_not_reckoned_by_their_bytes() -> None:
    def reading(part: pb.ContentPart) -> int:
        task = pb.Task(text=pb.TextTask(messages=[pb.ChatMessage(parts=[part])]))
        return bytes_to_read(task, task.ByteSize(), needs_of(task))

    small, large = (reading(pb.ContentPart(image=pb.Media(data=bytes(n)))) for n in (10, 1 << 20))
    assert large - small < 10
    assert reading(pb.ContentPart(text="word" * 1000)) > reading(pb.ContentPart(text="word"))
