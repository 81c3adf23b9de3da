"""docs/cluster.md: its tables are those of the code."""

import re
from pathlib import Path

from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as schema
from daiic.work import WORK, needs_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")

MEDIA = schema.Media(data=b"-")
EXAMPLES = {
    **{
        what: schema.Task(text=text)
        for what, text in {
            "`text.messages`": schema.TextTask(messages=[schema.ChatMessage()]),
            "`text.prompt`": schema.TextTask(prompt="-"),
            "a part of a message that is an image": schema.TextTask(
                messages=[schema.ChatMessage(parts=[schema.ContentPart(image=MEDIA)])]
            ),
            "a part of a message that is audio": schema.TextTask(
                messages=[schema.ChatMessage(parts=[schema.ContentPart(audio=MEDIA)])]
            ),
            "`text.tools`, or a message with `tool_calls`": schema.TextTask(tools=[schema.Tool()]),
            "a `text.tool_choice` that demands a call": schema.TextTask(
                tool_choice=schema.ToolChoice(mode=schema.ToolChoice.REQUIRED)
            ),
            "a message of the role `tool`, or with a `tool_call_id`": schema.TextTask(
                messages=[schema.ChatMessage(role="tool")]
            ),
            "`text.constraint`": schema.TextTask(constraint=schema.Constraint(json=True)),
            "`text.sampling`": schema.TextTask(sampling=schema.Sampling(min_p=0.1)),
            "`text.prompt_tokens`": schema.TextTask(prompt_tokens=[1]),
        }.items()
    },
    "`image.type`": schema.Task(image=schema.ImageTask(type="image/webp")),
    "`embed`": schema.Task(embed=schema.EmbedTask()),
    "`embed.token_inputs`": schema.Task(embed=schema.EmbedTask(token_inputs=[schema.Tokens()])),
    "`embed.dimensions`": schema.Task(embed=schema.EmbedTask(dimensions=1)),
    "`embed.prompt_name`": schema.Task(embed=schema.EmbedTask(prompt_name="query")),
    "`transcribe`": schema.Task(transcribe=schema.TranscribeTask()),
    "`speak`": schema.Task(speak=schema.SpeakTask()),
    "`rerank`": schema.Task(rerank=schema.RerankTask()),
    "`adapters`": schema.Task(load=schema.LoadTask(), adapters=[schema.Adapter()]),
}


TESTS = Path(__file__).parents[1]
RULE = re.compile(r"^\| `([a-z-]+)` \|", re.M)
MARK = re.compile(r"@pytest\.mark\.rule\(([^)]*)\)")


def section(title: str) -> str:
    """Return the part under the heading `title`, up to the next heading."""
    return re.split(r"^#+ ", DOCUMENT.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def test_every_error_code_is_explained() -> None:
    table = re.findall(r"^\| (\d+) \| `(\w+)` \|", section("Error codes"), re.M)
    codes = dict(schema.ErrorCode.items())
    del codes["ERROR_CODE_UNSPECIFIED"]
    assert {name: int(value) for value, name in table} == codes


def test_a_task_needs_the_capabilities_that_the_table_names() -> None:
    rows = re.findall(r"^\| (.+) \| ([A-Z].*) \|$", section("Capabilities and tags"), re.M)
    needed = dict(rows)
    for what, task in EXAMPLES.items():
        assert schema.Capability.Value(needed.pop(what)) in needs_of(task), what
    assert needed == {"`image`": "PAINT, or EDIT if it has an `image` to begin with, or a `mask`"}
    image = schema.ImageTask
    assert needs_of(schema.Task(image=image())) == {schema.PAINT}
    assert needs_of(schema.Task(image=image(image=MEDIA))) == {schema.EDIT}
    assert needs_of(schema.Task(image=image(mask=MEDIA))) == {schema.EDIT}


def test_a_model_that_lists_nothing_can_do_what_the_text_says() -> None:
    text = " ".join(section("Capabilities and tags").split())
    names = {
        kind: {schema.Capability.Name(capability) for capability in model.capabilities}
        for kind, model in MODEL_KINDS.items()
    }
    assert names[schema.TEXT] == {"CHAT", "COMPLETE", "EMBED"}
    del names[schema.TEXT]
    assert "CHAT, COMPLETE and EMBED for TEXT" in text
    for kind, (capability,) in names.items():
        assert f"{capability} for {schema.ModelKind.Name(kind)}" in text


def test_every_kind_of_work_with_a_seed_is_said_to_get_one() -> None:
    seeded = {name for name, kind in WORK.items() if kind.seeded}
    assert f"without a `seed`, whose work ({', '.join(sorted(seeded))})" in section("Tasks")


def test_every_rule_has_a_name_of_its_own_and_a_test() -> None:
    tables = [table for table in DOCUMENT.split("\n\n") if table.startswith("| rule |")]
    rules = RULE.findall("\n".join(tables))
    assert len(rules) == len(set(rules)) > 50
    tested: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for mark in MARK.findall(path.read_text("utf-8")):
            tested |= set(re.findall(r'"([a-z-]+)"', mark))
    assert tested == set(rules)
