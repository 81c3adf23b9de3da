"""Chat on the page, in a real browser."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from browser.chat_view import LAST_FOOT, ask
from browser.chromium import Page
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead, echo
from support.processes.gateway_process import RunningGateway


async def test_chat_streams_and_says_how_fast(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    await page.go(f"{gateway.url}/#chat")
    await ask(page, "one two three")
    await page.until(f"{LAST_FOOT}.includes('tokens/s')")
    said = await page.text(".message.assistant .body")
    assert said == "one two three"
    assert (await page.js(LAST_FOOT)).startswith("3 tokens")
    await ask(page, "four")
    await page.until("document.querySelectorAll('.message.assistant .link').length === 4")
    said = [(message.role, message.content) for message in head.tasks[1].text.messages]
    assert said == [("user", "one two three"), ("assistant", "one two three"), ("user", "four")]
    await page.js("location.hash = 'cluster'")
    await page.until("document.querySelectorAll('#tasks tbody tr').length === 2")
    assert page.errors == []


@pytest.mark.parametrize("width", [1280, 390])
async def test_the_chat_follows_what_is_written_unless_its_reader_looks_elsewhere(
    page: Page, gateway: RunningGateway, head: ScriptedHead, width: int
) -> None:
    go_on = asyncio.Event()

    async def long(task: pb.Task) -> AsyncIterator[pb.Result]:
        for number in range(200):
            yield pb.Result(text=f"line {number}\n", tokens=[number])
            if number in (99, 149):
                await go_on.wait()
                go_on.clear()
        yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP)

    async def written(number: int) -> None:
        await page.until(f"document.getElementById('thread').innerText.includes('line {number}')")

    end = "document.getElementById('thread').lastElementChild.getBoundingClientRect().bottom"
    head.script = long
    await page.look(width, 800)
    await page.go(f"{gateway.url}/#chat")
    await ask(page, "go")
    await written(99)
    assert await page.js(f"{end} <= innerHeight")
    await page.js("location.hash = '#cluster'")
    await page.until("!document.getElementById('cluster').hidden")
    go_on.set()
    await asyncio.sleep(0.2)
    await page.js("location.hash = '#chat'")
    await written(149)
    assert await page.js(f"{end} <= innerHeight")
    await page.js("document.getElementById('thread').scrollTop = 0; scrollTo(0, 0)")
    go_on.set()
    await written(199)
    assert await page.js(f"{end} > innerHeight")


async def test_stop_ends_the_task_on_the_cluster_and_keeps_what_was_said(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def endless(task: pb.Task) -> AsyncIterator[pb.Result]:
        for number in range(10_000):
            yield pb.Result(text=f"{number} ", tokens=[number])
            await asyncio.sleep(0.02)

    head.script = endless
    await page.go(f"{gateway.url}/#chat")
    await ask(page, "count")
    await page.until("document.querySelector('.assistant .body')?.innerText.includes('5 ')")
    await page.press("Escape")
    await asyncio.wait_for(head.cancelled.get(), 1)
    await page.until(f"{LAST_FOOT}.includes('stopped')")
    assert (await page.text(".message.assistant .body")).startswith("0 1 2 3 4 5")
    assert await page.text("#send") == "Send"


async def test_chat_settings_reach_the_task_and_again_asks_again(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    await page.go(f"{gateway.url}/#chat")
    values = {"system": "be kind", "temperature": 0.5, "max_tokens": 7, "seed": 3, "top_p": 0.5}
    for name, value in values.items():
        await page.js(
            f"document.getElementById('chat-settings').elements.{name}.value = {json.dumps(value)}"
        )
    await ask(page, "hi")
    await page.until("document.querySelectorAll('.message.assistant .link').length === 2")
    await page.js("document.querySelector('.message.assistant .link:last-child').click()")
    await asyncio.wait_for(head.received(2), 5)
    for task in head.tasks:
        text = task.text
        assert [(m.role, m.content) for m in text.messages] == [
            ("system", "be kind"),
            ("user", "hi"),
        ]
        assert (text.temperature, text.max_tokens, text.seed, text.top_p) == (0.5, 7, 3, 0.5)


async def test_what_a_model_writes_is_never_markup(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    text = "<img src=x onerror=alert(1)><b>bold</b>\n```html\n<script>alert(2)</script>\n```\nend"
    await page.go(f"{gateway.url}/#chat")
    await page.until("!document.getElementById('send').disabled")
    await page.js("document.getElementById('say').focus()")
    await page.type(text)
    await page.press("Enter")
    await page.until(f"{LAST_FOOT}.includes('tokens')")
    body = "document.querySelector('.message.assistant .body')"
    assert await page.js(f"{body}.querySelectorAll('img, b, script').length") == 0
    code = await page.js(f"{body}.querySelector('pre code')?.textContent")
    assert code == "<script>alert(2)</script>"


async def test_text_that_another_model_began_again_is_not_kept(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    begun = asyncio.Event()

    async def over(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(text="half of an answer", tokens=[1])
        await begun.wait()
        yield pb.Result(text="other", tokens=[2], started_over=True)

    head.script = over
    await page.go(f"{gateway.url}/#chat")
    await ask(page, "hi")
    await page.until("document.querySelector('.assistant .body')?.innerText.includes('half')")
    begun.set()
    await page.until(f"{LAST_FOOT}.includes('send the request again')")
    assert await page.text(".message.assistant .body") == ""
    head.script = echo
    await ask(page, "still there?")
    await asyncio.wait_for(head.received(2), 5)
    assert [message.role for message in head.tasks[1].text.messages] == ["user", "user"]
