"""Chat templates do what they do in transformers, and cannot do a worker any harm."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from daiic.errors import TaskError
from daiic.head.worker_messages import MOVABLE
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import ModelRefused
from daiic.worker.engines.transformers_text import chat_template, template_process
from daiic.worker.engines.transformers_text.chat_template import ChatTemplate

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
HELLO = [{"role": "user", "content": "hello"}]
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@contextmanager
def template(source: str) -> Iterator[ChatTemplate]:
    made = ChatTemplate("owner/name", source, VARIABLES)
    try:
        yield made
    finally:
        made.close()


def child_of(made: ChatTemplate) -> int:
    """Return the process that renders; there is no other child."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    found = [
        int(child)
        for child in children
        if b"template_process" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(found) == 1, made
    return found[0]


TEMPLATES = r"""
{% for m in messages %}
  {% if m.role == 'user' %}
[{{ m.content }}]
  {% endif %}
{% endfor %}
=====
{{ bos_token }}{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}
{% endfor %}
=====
{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}
=====
{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}
{% set ns = namespace({'a': 1}, self=2) %}{{ ns.a }}{{ ns.self }}
=====
{{ messages | tojson }}{{ messages | tojson(indent=2) }}
{{ {'b': 'é<', 'a': 1} | tojson(sort_keys=true) }}
{{ [1, 2] | tojson(separators=(',', ':'), ensure_ascii=true) }}
=====
{% generation %}{{ messages[0].content }}{% set x = 5 %}{% endgeneration %}{{ x is defined }}
=====
{{ strftime_now('%d %b %Y') }}{{ dict(a=1) }}{{ dict.fromkeys(['k'], 1) }}
=====
{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ nothing is defined }}
=====
{{ messages[1:] | map(attribute='content') | join('|') | trim | upper }}{{ eos_token }}
=====
{%- macro say(m) -%}<{{ m.role }}>{%- endmacro -%}
{% for m in messages %}{{ say(m) }}{% endfor %}
=====
{{ messages[0].content.split('l')[-1] }}{{ 'x' ~ 1 }}{{ raise_exception is callable }}
"""


@pytest.mark.parametrize("source", TEMPLATES.split("=====\n"))
async def test_templates_render_as_in_transformers(source: str) -> None:
    messages = [*HELLO, {"role": "assistant", "content": ' <é> "🙂" '}, *HELLO]
    expected = render_jinja_template(
        conversations=[messages], chat_template=source, add_generation_prompt=True, **VARIABLES
    )[0][0]
    with template(source) as made:
        assert await made.render(messages) == expected
        assert await made.render(messages) == expected


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ raise_exception('roles must\x1b alternate') }}", r"roles must\\x1b alternate"),
        ("{{ messages[0].content.__class__.x }}", "is unsafe"),
        ("{{ messages.append(1) }}", "is unsafe"),
        ("{% set ns = namespace() %}{% set ns._a = 1 %}", "_a"),
        ("{{ 1 + 'a' }}", "unsupported operand"),
        ("{% if %}", "Expected an expression"),
        ("{{ " + "(" * 50_000 + ")" * 50_000 + " }}", "recursion"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% include '/etc/passwd' %}", "no loader"),
    ],
)
async def test_what_a_template_does_not_take_is_the_requests_error(source: str, told: str) -> None:
    with template(source) as made:
        for _ in range(2):
            with pytest.raises(TaskError, match=told) as caught:
                await made.render(HELLO)
            assert not isinstance(caught.value, ModelRefused)
            assert caught.value.code not in MOVABLE


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (LOOPS, "too much time"),
        ("{{ 9 ** (9 ** 9) }}", "too much time"),
        ("{{ 'a' * 3000000000 }}", "too much memory"),
        ("{{ '%3000000000d' % 1 }}", "too much memory"),
        ("{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}", "too much memory"),
        ("{{ 'a' * 2000000 }}", "too long a text"),
    ],
)
async def test_hostile_template_is_refused_within_bounds_and_for_good(
    source: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 0.3)
    with template(source) as made:
        for _ in range(2):
            with pytest.raises(ModelRefused, match=f"owner/name is refused.*{what}") as caught:
                await made.render(HELLO)
            assert caught.value.code not in MOVABLE, "the next worker would be its victim"
            with pytest.raises(AssertionError):
                child_of(made)


async def test_source_of_a_template_is_bounded() -> None:
    with template("x" * 2_000_000) as made, pytest.raises(ModelRefused, match="a megabyte"):
        await made.render(HELLO)


async def test_the_event_loop_and_other_models_go_on_beside_a_hostile_template() -> None:
    with template(LOOPS) as hostile, template("{{ messages[0].content }}") as good:
        burning = asyncio.create_task(hostile.render(HELLO))
        waiting = [asyncio.create_task(hostile.render(HELLO)) for _ in range(50)]
        for _ in range(20):
            assert await good.render(HELLO) == "hello"
            assert await asyncio.to_thread(lambda: "threads are free")
        assert not burning.done()
        for task in (burning, *waiting):
            task.cancel()
        await asyncio.wait([burning, *waiting])
        child_of(good)


async def test_honest_template_is_not_blamed_for_a_long_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 0.3)
    quadratic = "{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}ok"
    with template(quadratic) as made:
        with pytest.raises(TaskError, match="too much time for this conversation") as caught:
            await made.render(HELLO * 20_000)
        assert not isinstance(caught.value, ModelRefused)
        assert await made.render(HELLO) == "ok"


async def test_a_cancelled_conversation_answers_nobody_else() -> None:
    with template("{% if messages[0].content == 'slow' %}" + LOOPS + "{% endif %}ok") as made:
        assert await made.render(HELLO) == "ok"
        slow = asyncio.create_task(made.render([{"role": "user", "content": "slow"}]))
        await asyncio.sleep(0.05)
        slow.cancel()
        with suppress(asyncio.CancelledError):
            await slow
        assert await made.render(HELLO) == "ok"


async def test_a_process_that_others_end_is_started_again() -> None:
    with template("{{ messages[0].content }}") as made:
        assert await made.render(HELLO) == "hello"
        before = child_of(made)
        os.kill(before, signal.SIGKILL)
        while Path(f"/proc/{before}/stat").read_text().split()[2] != "Z":
            await asyncio.sleep(0.01)
        assert await made.render(HELLO) == "hello"


async def test_stopping_the_unit_does_not_end_it_before_the_worker() -> None:
    with template("{{ messages[0].content }}") as made:
        assert await made.render(HELLO) == "hello"
        child = child_of(made)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(child, number)
        assert await made.render(HELLO) == "hello"
        assert child_of(made) == child


async def test_the_process_is_small_and_has_nothing_of_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with template("{{ messages[0].content }}") as made:
        await made.render(HELLO)
        process = Path("/proc") / str(child_of(made))
        assert b"hf_secret" not in (process / "environ").read_bytes()
        assert "libtorch" not in (process / "maps").read_text()
        status = dict(line.split(":\t") for line in (process / "status").read_text().splitlines())
        assert int(status["VmRSS"].split()[0]) < 64 << 10
        limits = (process / "limits").read_text()
        assert limits.count(str(chat_template.MEMORY)) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01[",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x0a" + b'{"text":1}',
        b"\x00\x01\x86\xa0" + b"[" * 100_000,
        b"\x00",
    ],
)
async def test_a_process_that_was_taken_over_does_the_worker_no_harm(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_over = tmp_path / "taken_over.py"
    taken_over.write_text(f"import os\nos.read(0, 4)\nos.write(0, {answer!r})\n")
    monkeypatch.setattr(template_process, "__file__", str(taken_over))
    with template("{{ messages }}") as made:
        for _ in range(2):
            with pytest.raises(TaskError) as caught:
                await made.render(HELLO)
            assert caught.value.code == pb.INTERNAL
