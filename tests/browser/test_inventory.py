"""The models view: what is where, pulls, and what administrators do with models."""

import asyncio
from collections.abc import AsyncIterator

from browser.chromium import Page
from daiic.errors import TaskError
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

SHOWN = "[...document.querySelectorAll('#inventory button')].filter((one) => !one.hidden)"


def button(action: str, model: str) -> str:
    return f"document.querySelector('#inventory [aria-label=\"{action} {model} on stub\"]')"


async def test_models_are_listed_with_what_can_be_done_to_them(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    first, second, *_ = head.status.workers[0].heartbeat.models
    first.bytes, first.pinned = 3 << 30, True
    second.downloaded, second.state = True, pb.AVAILABLE
    await page.go(f"{gateway.url}/#models")
    await page.until("document.getElementById('inventory').innerText.includes('pinned')")
    row = await page.text("#inventory-rows tr:first-child")
    for said in ("stub-chat", "chat, complete", "loaded, pinned", "3.0 GiB"):
        assert said in row
    await page.until(f"{SHOWN}.length > 3")
    for action, model in (
        ("unpin", "stub-chat"),
        ("unload", "stub-chat"),
        ("pin", "stub/image"),
        ("delete", "stub/image"),
    ):
        assert not await page.js(f"{button(action, model)}.hidden")
    for action, model in (("pin", "stub-chat"), ("delete", "stub-chat"), ("unload", "stub/image")):
        assert await page.js(f"{button(action, model)}.hidden")
    assert page.errors == []


async def test_buttons_act_on_one_worker_and_say_how_it_went(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def doing(task: pb.Task) -> AsyncIterator[pb.Result]:
        if task.manage.action == pb.ManageTask.UNLOAD:
            raise TaskError(pb.BAD_REQUEST, "tasks run on it", "wait")
        yield pb.Result(final=True)

    head.script = doing
    head.status.workers[0].heartbeat.models[0].downloaded = True
    await page.go(f"{gateway.url}/#models")
    await page.until(f"{SHOWN}.some((one) => one.dataset.action === 'delete')")
    await page.js(f"{button('pin', 'stub-chat')}.click()")
    await page.until("document.getElementById('models-said').innerText.includes('is pinned')")
    assert (head.tasks[0].worker_id, head.tasks[0].manage.action) == ("w1", pb.ManageTask.PIN)
    await page.js(f"{button('unload', 'stub-chat')}.click()")
    await page.until("!document.getElementById('models-problem').hidden")
    assert "tasks run on it" in await page.text("#models-problem")
    await page.js("window.confirm = (text) => (window.asked = text, false)")
    await page.js(f"{button('delete', 'stub-chat')}.click()")
    assert await page.js("window.asked") == "Delete stub-chat from stub?"
    assert len(head.tasks) == 2
    await page.js("window.confirm = () => true")
    await page.js(f"{button('delete', 'stub-chat')}.click()")
    await page.until("document.getElementById('models-said').innerText.includes('is deleted')")
    assert head.tasks[2].manage.action == pb.ManageTask.DELETE


async def test_a_model_is_pulled_and_its_row_shows_how_far_it_is(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    go_on = asyncio.Event()

    async def pulling(task: pb.Task) -> AsyncIterator[pb.Result]:
        await go_on.wait()
        yield pb.Result(final=True)

    head.script = pulling
    worker = head.status.workers[0].heartbeat
    worker.can_download = True
    await page.go(f"{gateway.url}/#models")
    await page.until("!document.getElementById('pull-form').hidden")
    await page.js("document.querySelector('#pull-form input').value = 'owner/name'")
    await page.js("document.getElementById('pull').click()")
    await asyncio.wait_for(head.received(1), 5)
    worker.models.add(name="owner/name", state=pb.DOWNLOADING, progress=0.4)
    await page.until("document.getElementById('inventory').innerText.includes('downloading 40 %')")
    go_on.set()
    await page.until("document.getElementById('models-said').innerText.includes('is loaded')")
    assert head.tasks[0].WhichOneof("work") == "load"


async def test_without_the_right_nothing_is_offered(
    page: Page, start_gateway: StartGateway, keys: KeyFile
) -> None:
    key = keys.create("plain")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    await page.go(f"{gateway.url}/#models")
    await page.until("document.getElementById('key-dialog').open")
    await page.js(f"document.getElementById('key-input').value = '{key}'")
    await page.js("document.querySelector('#key-dialog button').click()")
    await page.until("document.querySelector('#inventory-rows tr')")
    await page.until("!document.getElementById('models-refused').hidden")
    assert await page.js(f"{SHOWN}.length") == 0
