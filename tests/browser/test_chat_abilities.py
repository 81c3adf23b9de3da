"""Thoughts, tools, pictures and comparisons in the chat on the page, in a real browser."""

import asyncio
import json
from collections.abc import AsyncIterator

from browser.chat_view import LAST_FOOT, ask
from browser.chromium import Page
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import PNG, ScriptedHead, echo, text_model
from support.processes.gateway_process import RunningGateway

WEATHER = '[{"name": "weather", "parameters": {"type": "object"}}]'
SHOWN_PICTURES = "document.querySelectorAll('#chat-pictures img').length"


async def set_field(page: Page, name: str, value: str) -> None:
    await page.js(
        f"document.getElementById('chat-settings').elements.{name}.value = {json.dumps(value)}"
    )


async def choose(page: Page, select: str, value: str) -> None:
    await page.until(f"document.querySelector('#{select} option[value=\"{value}\"]')")
    await page.js(f"document.getElementById('{select}').value = '{value}'")


async def test_thoughts_and_calls_fold_open_and_a_person_answers_the_call(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def calling(task: pb.Task) -> AsyncIterator[pb.Result]:
        if task.text.messages[-1].role == "tool":
            async for part in echo(task):
                yield part
            return
        yield pb.Result(reasoning="<b>hm</b>", tokens=[1])
        call = pb.ToolCallPart(index=0, id="call_a", name="weather", arguments='{"city":')
        yield pb.Result(text="I look.", tool_calls=[call], tokens=[2])
        yield pb.Result(
            final=True,
            tool_calls=[pb.ToolCallPart(index=0, arguments=' "Oslo"}')],
            finish_reason=pb.FINISH_REASON_TOOL_CALLS,
        )

    head.script = calling
    await page.go(f"{gateway.url}/#chat")
    await set_field(page, "tools", WEATHER)
    await set_field(page, "reasoning_effort", "low")
    await ask(page, "how is Oslo?")
    await page.until("document.querySelector('.results textarea')")
    thoughts, call = (
        "document.querySelectorAll('.fold')[0]",
        "document.querySelectorAll('.fold')[1]",
    )
    assert not await page.js(f"{thoughts}.open")
    assert await page.js(f"{thoughts}.querySelector('pre').textContent") == "<b>hm</b>"
    await page.js(f"{call}.querySelector('summary').click()")
    assert await page.js(f"{call}.open")
    assert await page.text(".fold:nth-of-type(2) summary") == "Calls weather"
    assert await page.js(f"{call}.querySelector('pre').textContent") == '{"city": "Oslo"}'
    asked = head.tasks[0].text
    assert (asked.tools[0].name, asked.reasoning_effort) == ("weather", "low")
    await page.js("document.querySelector('.results textarea').value = 'rain'")
    await page.js("document.querySelector('.results button').click()")
    await asyncio.wait_for(head.received(2), 5)
    _, said, result = head.tasks[1].text.messages
    assert said.tool_calls[0].id == result.tool_call_id == "call_a"
    assert (said.content, result.content) == ("I look.", "rain")
    assert page.errors == []


async def test_tools_that_are_no_json_are_refused_before_anything_is_sent(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    await page.go(f"{gateway.url}/#chat")
    await set_field(page, "tools", "weather")
    await ask(page, "hi")
    await page.until("document.getElementById('chat-problem').innerText.includes('not JSON')")
    assert not head.tasks


async def test_pictures_go_with_the_message_and_can_be_taken_out(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.status.workers[0].heartbeat.models[0].capabilities.extend([pb.CHAT, pb.SEE])
    await page.go(f"{gateway.url}/#chat")
    await page.until("!document.getElementById('send').disabled")
    picture = list(PNG)
    await page.js(
        f"""(() => {{
          const files = new DataTransfer();
          const bytes = new Uint8Array({picture});
          files.items.add(new File([bytes], 'a.png', {{ type: 'image/png' }}));
          files.items.add(new File([bytes], 'b.png', {{ type: 'image/png' }}));
          document.getElementById('composer').dispatchEvent(
            new DragEvent('drop', {{ dataTransfer: files }}));
        }})()"""
    )
    await page.until(f"{SHOWN_PICTURES} === 2")
    await page.js("document.querySelector('[aria-label=\"Remove picture 1\"]').click()")
    await page.until(f"{SHOWN_PICTURES} === 1")
    await ask(page, "what is this?")
    await asyncio.wait_for(head.received(1), 5)
    text, image = head.tasks[0].text.messages[0].parts
    assert text.text == "what is this?"
    assert image.image.data.startswith(b"\x89PNG")
    assert await page.js(f"{SHOWN_PICTURES}") == 0
    assert await page.js("document.querySelectorAll('.message.user img').length") == 1
    assert page.errors == []


async def test_two_models_answer_side_by_side_and_each_keeps_its_own_conversation(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def named(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(
            text=f"I am {task.model}",
            tokens=[1],
            final=True,
            finish_reason=pb.FINISH_REASON_STOP,
        )

    head.script = named
    head.status.workers[0].heartbeat.models.append(text_model("stub-second"))
    await page.go(f"{gateway.url}/#chat")
    await choose(page, "chat-model", "stub-chat")
    await choose(page, "chat-compare", "stub-second")
    for number, question in enumerate(("who?", "really?"), 1):
        await ask(page, question)
        await page.until(f"document.querySelectorAll('.message.assistant').length === {2 * number}")
        await page.until(f"{LAST_FOOT}.includes('copy')")
        await page.until("document.getElementById('send').innerText === 'Send'")
    answers = await page.js(
        "[...document.querySelectorAll('.assistant .body')].map((one) => one.innerText)"
    )
    assert answers == ["I am stub-chat", "I am stub-second"] * 2
    names = await page.js("[...document.querySelectorAll('.by')].map((one) => one.innerText)")
    assert names == ["stub-chat", "stub-second"] * 2
    later = {task.model: task.text.messages for task in head.tasks[2:]}
    for model, messages in later.items():
        assert [m.content for m in messages] == ["who?", f"I am {model}", "really?"]
    first, second = await page.js(
        "[...document.querySelectorAll('.answers:last-child .message')]"
        ".map((one) => one.getBoundingClientRect().left)"
    )
    assert second > first
