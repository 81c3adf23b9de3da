"""What a person can do on the page, in a real browser."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from browser.chromium import Page
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead, echo, failing
from support.processes.gateway_process import RunningGateway

VIEWS = ("cluster", "chat", "images", "connect")
LAST_FOOT = "(document.querySelector('.message.assistant:last-child .foot')?.innerText ?? '')"


async def ask(page: Page, text: str) -> None:
    await page.until("!document.getElementById('send').disabled")
    await page.js("document.getElementById('say').focus()")
    await page.type(text)
    await page.press("Enter")


async def test_it_shows_the_cluster_as_it_is_and_as_it_changes(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    heartbeat = head.status.workers[0].heartbeat
    heartbeat.backend = pb.ROCM
    heartbeat.running = 8
    heartbeat.tokens_per_second = 123
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker .badge')?.innerText === 'AMD'")
    card = await page.text(".worker")
    for shown in ("stub", "AMD EPYC", "3.0 GiB of 8.0 GiB", "8 of 32", "stub/image", "loaded"):
        assert shown in card
    assert "paint" in await page.text(".models")
    load = "document.querySelector('[role=meter][aria-label=\"Load of stub\"]')"
    assert await page.js(f"{load}.getAttribute('aria-valuenow')") == "25"
    assert await page.text("#rate") == "123"
    heartbeat.models.add(name="big", kind=pb.TEXT, state=pb.LOADING, progress=0.4)
    await page.until("document.querySelector('.models').innerText.includes('loading 40 %')")
    await page.js("document.querySelector('.worker').dataset.mine = 'yes'")
    heartbeat.models[3].progress = 0.5
    await page.until("document.querySelector('.models').innerText.includes('loading 50 %')")
    assert await page.js("document.querySelector('.worker').dataset.mine") == "yes"
    del head.status.workers[:]
    await page.until("!document.querySelector('.worker')")
    assert "services.daiic.worker.enable = true;" in await page.text("#no-workers")
    assert page.errors == []


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
    await page.until("document.querySelectorAll('.tasks tbody tr').length === 2")
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


async def test_errors_are_said_where_they_happen(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = failing(pb.QUEUE_FULL, "the queue is full", "try again soon")
    await page.go(f"{gateway.url}/#chat")
    await ask(page, "hi")
    await page.until(f"{LAST_FOOT}.includes('the queue is full: try again soon')")
    await page.js("location.hash = 'images'")
    await page.js("document.getElementById('image-form').elements.prompt.value = 'x'")
    await page.js("document.getElementById('make').click()")
    await page.until("document.getElementById('image-problem').innerText.includes('full')")


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


async def test_each_view_offers_the_models_that_can_do_what_it_does(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    offered = "[...document.getElementById('{}').options].map(option => option.value)"
    models = head.status.workers[0].heartbeat.models
    models.add(name="reader", kind=pb.TEXT, state=pb.LOADED, capabilities=[pb.EMBED])
    models.add(name="painter", kind=pb.IMAGE, state=pb.LOADED, capabilities=[pb.PAINT, pb.EDIT])
    await page.go(gateway.url)
    await page.until("document.querySelector('.models')?.innerText.includes('paint, edit')")
    assert await page.js(offered.format("chat-model")) == ["stub-chat"]
    assert await page.js(offered.format("image-model")) == ["painter", "stub/image"]


async def test_images_show_their_steps_and_then_themselves(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    go_on = asyncio.Event()

    async def painting(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(progress=pb.Progress(phase="steps", done=3, total=8))
        await go_on.wait()
        async for part in echo(task):
            yield part

    head.script = painting
    await page.go(f"{gateway.url}/#images")
    await page.until("!document.getElementById('make').disabled")
    await page.js("document.querySelector('#image-form [name=prompt]').focus()")
    await page.type("a red fox")
    fields = {"width": 256, "height": 128, "seed": 11, "n": 2}
    for name, value in fields.items():
        await page.js(f"document.getElementById('image-form').elements.{name}.value = {value}")
    await page.js("document.getElementById('make').click()")
    await page.until("document.getElementById('making-count').innerText === '3 / 8'")
    bar = "document.querySelector('[role=progressbar]')"
    assert await page.js(f"{bar}.getAttribute('aria-valuenow')") == "38"
    go_on.set()
    await page.until(
        "[...document.querySelectorAll('.picture img')].filter(i => i.naturalWidth).length === 2"
    )
    image = head.tasks[0].image
    assert (image.prompt, image.width, image.height, image.seed) == ("a red fox", 256, 128, 11)
    captions = await page.text("#gallery")
    assert "seed 11" in captions and "seed 12" in captions
    assert page.errors == []


async def test_images_can_be_stopped(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def slow(task: pb.Task) -> AsyncIterator[pb.Result]:
        yield pb.Result(progress=pb.Progress(phase="steps", done=1, total=50))
        await asyncio.sleep(3600)

    head.script = slow
    await page.go(f"{gateway.url}/#images")
    await page.until("!document.getElementById('make').disabled")
    await page.js("document.getElementById('image-form').elements.prompt.value = 'x'")
    await page.js("document.getElementById('make').click()")
    await page.until("document.getElementById('making-count').innerText === '1 / 50'")
    await page.js("document.getElementById('make').click()")
    await asyncio.wait_for(head.cancelled.get(), 1)
    await page.until("document.getElementById('making').hidden")


async def test_it_asks_for_the_key_and_works_once_it_has_it(
    page: Page, start_gateway: StartGateway, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    await page.go(gateway.url)
    for given in ("daiic-wrong", key):
        await page.until("document.getElementById('key-dialog').open")
        await page.js("document.getElementById('key-input').focus()")
        await page.type(given)
        await page.press("Enter")
        if given != key:
            await page.until("!document.getElementById('key-wrong').hidden")
    await page.until("document.querySelector('.worker')")
    await page.js("location.hash = 'chat'")
    await ask(page, "hello there")
    await page.until(f"{LAST_FOOT}.includes('tokens')")
    assert await page.js("localStorage.length") == 0


async def test_it_says_so_when_the_gateway_goes_and_comes_back_by_itself(
    page: Page, head: ScriptedHead, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway()
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")
    gateway.signal(signal.SIGTERM)
    await page.until("document.getElementById('problem').innerText.includes('does not answer')")
    await start_gateway(f"--listen=127.0.0.1:{gateway.host_port[1]}")
    await page.until("document.getElementById('problem').hidden", 15)


async def test_a_hidden_page_does_not_hold_a_connection(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def hide(hidden: bool) -> None:
        await page.js(
            "Object.defineProperty(document, 'hidden', "
            f"{{value: {json.dumps(hidden)}, configurable: true}})"
        )
        await page.js("document.dispatchEvent(new Event('visibilitychange'))")

    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")
    await hide(True)
    del head.status.workers[:]
    await asyncio.sleep(2.5)
    assert await page.js("document.querySelectorAll('.worker').length") == 1
    await hide(False)
    await page.until("document.querySelectorAll('.worker').length === 0")
    assert page.errors == []


async def test_it_can_be_used_by_keyboard_alone(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")

    async def tab_to(what: str) -> None:
        for _ in range(40):
            await page.press("Tab")
            if await page.js(f"document.activeElement.matches({json.dumps(what)})"):
                outline = await page.js("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none" or what == "#say"  # its frame shows the focus
                return
        raise AssertionError(f"Tab never reaches {what}")

    await tab_to("nav a[href='#chat']")
    await page.press("Enter")
    await page.until("!document.getElementById('chat').hidden")
    await tab_to("#say")
    await page.type("by keyboard")
    await page.press("Enter", shift=True)
    await page.type("two lines")
    await page.press("Enter")
    await asyncio.wait_for(head.received(1), 5)
    assert head.tasks[0].text.messages[0].content == "by keyboard\ntwo lines"
    await page.go(f"{gateway.url}/?again#images")
    await page.until("!document.getElementById('make').disabled")
    await tab_to("#image-form [name=prompt]")
    await page.type("a fox")
    await tab_to("#make")
    await page.press("Space")
    await asyncio.wait_for(head.received(2), 5)


async def test_everything_that_acts_has_a_name(page: Page, gateway: RunningGateway) -> None:
    acting = {"button", "link", "textbox", "combobox", "spinbutton", "meter", "progressbar"}
    for view in VIEWS:
        await page.go(f"{gateway.url}/?{view}#{view}")
        await page.until("document.querySelector('.worker')")
        names = await page.names()
        assert sum(role in acting for role, _ in names) > 5
        assert [role for role, name in names if role in acting and not name] == []


CONTRAST = Path(__file__).with_name("poor_contrast.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_can_be_read_in_both_colours(
    page: Page, gateway: RunningGateway, head: ScriptedHead, scheme: str
) -> None:
    models = head.status.workers[0].heartbeat.models
    models.add(name="a", kind=pb.TEXT, state=pb.LOADING)
    models.add(name="b", kind=pb.TEXT, state=pb.FAILED, detail="it broke")
    for backend in (pb.CUDA, pb.ROCM):
        worker = head.status.workers.add()
        worker.CopyFrom(head.status.workers[0])
        worker.heartbeat.worker_id = worker.heartbeat.name = pb.Backend.Name(backend)
        worker.heartbeat.backend = backend
    await page.look(1280, 860, scheme)
    for view in VIEWS:
        await page.go(f"{gateway.url}/?{view}#{view}")
        await page.until("document.querySelectorAll('.worker').length === 3")
        assert await page.js(CONTRAST) == []


async def test_the_colours_can_be_chosen_and_are_remembered(
    page: Page, gateway: RunningGateway
) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    await page.go(gateway.url)
    light = await page.js(ground)
    for _ in range(2):  # from auto over light to dark
        await page.js("document.getElementById('theme-button').click()")
    dark = await page.js(ground)
    assert dark != light
    await page.go(f"{gateway.url}/?again")
    assert await page.js(ground) == dark


@pytest.mark.parametrize("width", [320, 390, 820])
async def test_nothing_sticks_out_on_small_screens(
    page: Page, gateway: RunningGateway, head: ScriptedHead, width: int
) -> None:
    long = head.status.workers[0].heartbeat
    long.name = "a-machine-with-a-very-long-name-in-some-rack"
    long.models[0].name = "someone/a-model-with-a-very-long-name-that-goes-on-Instruct-v0.3"
    async with gateway.http as http:
        await http.post("/v1/completions", json={"model": long.models[0].name, "prompt": "x y"})
    await page.look(width, 844)
    for view in VIEWS:
        await page.go(f"{gateway.url}/?{view}#{view}")
        await page.until("document.querySelector('.worker') && document.querySelector('.tasks')")
        assert await page.js("document.documentElement.scrollWidth") <= width, view


async def test_nothing_is_fetched_from_elsewhere(page: Page, gateway: RunningGateway) -> None:
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")
    elsewhere = [url for url in page.requests if not url.startswith((gateway.url, "data:"))]
    assert len(page.requests) > 10 and elsewhere == []
    assert page.errors == []
