"""The page as a whole, in a real browser: what it shows, and when it asks for what."""

import asyncio
import json
import signal
from pathlib import Path

from browser.chat_view import LAST_FOOT, ask
from browser.chromium import Page
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead, failing
from support.processes.gateway_process import RunningGateway


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
    memory = pb.Memory(total=24 << 30, free=18 << 30)
    heartbeat.cards.add(
        name="RTX 3090", vram=memory, temperature=61, power=240, power_limit=350, load=0.97
    )
    heartbeat.cards.add(name="RTX 3060")
    await page.until("document.querySelectorAll('.cards li').length === 2")
    first, second = (await page.text(".cards")).split("RTX 3060")
    assert "6.0 GiB of 24.0 GiB · 97 % busy · 61 °C · 240 of 350 W" in first
    assert not second.strip()
    heartbeat.models.add(name="big", kind=pb.TEXT, state=pb.LOADING, progress=0.4)
    await page.until("document.querySelector('.models').innerText.includes('loading 40 %')")
    await page.js("document.querySelector('.worker').dataset.mine = 'yes'")
    heartbeat.models[-1].progress = 0.5
    await page.until("document.querySelector('.models').innerText.includes('loading 50 %')")
    assert await page.js("document.querySelector('.worker').dataset.mine") == "yes"
    del head.status.workers[:]
    await page.until("!document.querySelector('.worker')")
    assert "services.daiic.worker.enable = true;" in await page.text("#no-workers")
    assert page.errors == []


async def test_it_shows_the_heads_that_know_each_other(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")
    assert await page.js("document.getElementById('other-heads').hidden")
    head.status.heads.add(id="a", state=pb.READY, master=True)
    head.status.heads.add(
        id="b", address="10.0.0.2:7717", state=pb.DRAINING, in_flight=3, queued=4, rtt_ms=1.5
    )
    await page.until("document.querySelectorAll('#heads li').length === 2")
    own, other = (await page.text("#heads")).split("10.0.0.2:7717")
    assert "master" in own and "master" not in other
    for shown in ("draining", "3 running · 4 queued", "1.5 ms round trip"):
        assert shown in other
    del head.status.heads[1:]
    await page.until("document.getElementById('other-heads').hidden")
    assert page.errors == []


async def test_it_shows_which_worker_is_set_aside_and_why_and_what_was_hedged(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    worker = head.status.workers[0]
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker .set-aside')?.hidden === true")
    worker.set_aside.reason = "failed 3 times in a row"
    worker.set_aside.retry_ms = 12_000
    said = "document.querySelector('.worker .set-aside').innerText.replace(/\\s/g, ' ')"
    await page.until(f"{said} === 'Set aside for 12 s: failed 3 times in a row'")
    worker.set_aside.retry_ms = 0
    await page.until(f"{said} === 'Set aside until tried: failed 3 times in a row'")
    worker.ClearField("set_aside")
    await page.until("document.querySelector('.worker .set-aside').hidden")
    assert "Hedged" not in await page.text("#facts")
    head.status.tasks_hedged = 7
    await page.until("document.querySelector('#facts').innerText.includes('Hedged')")
    assert page.errors == []


async def test_it_shows_how_near_a_worker_is_and_its_role(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    worker = head.status.workers[0]
    await page.go(gateway.url)
    said = "document.querySelector('.worker .foot')?.innerText.replace(/\\s/g, ' ')"
    await page.until(f"{said}?.includes('done')")
    assert "group" not in await page.text(".worker .foot")
    worker.group, worker.role, worker.health = 1, pb.RELAY, pb.DEGRADED
    await page.until(f"{said}.includes('group 1, relay, degraded')")
    worker.group, worker.role, worker.health = -1, pb.LEAF, pb.UNREACHABLE
    await page.until(f"{said}.includes(' · leaf, unreachable')")
    assert page.errors == []


async def test_it_shows_who_holds_which_layers_of_a_model(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    model = head.status.workers[0].heartbeat.models.add(name="big", kind=pb.TEXT, state=pb.LOADED)
    model.shards.add(worker_id="a", name="attic", bytes=2 << 30, first_layer=0, layers=12)
    model.shards.add(worker_id="b", name="<b>cellar", bytes=3 << 30, first_layer=12, layers=20)
    model.shards.add(worker_id="no-name", bytes=1 << 30)
    model.shards.add(worker_id="c", name="shed", bytes=1 << 30, layers=32, slices=3)
    await page.go(gateway.url)
    await page.until("document.querySelector('.models')?.innerText.includes('attic')")
    shown = await page.text(".models")
    assert "attic: layers 0 to 11, 2.0 GiB" in shown
    assert "<b>cellar: layers 12 to 31, 3.0 GiB" in shown
    assert "no-name: 1.0 GiB" in shown
    assert "shed: 1/3 of layers 0 to 31, 1.0 GiB" in shown
    del model.shards[1]
    await page.until("!document.querySelector('.models').innerText.includes('cellar')")
    assert page.errors == []


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


async def test_nothing_is_fetched_from_elsewhere(page: Page, gateway: RunningGateway) -> None:
    await page.go(gateway.url)
    await page.until("document.querySelector('.worker')")
    elsewhere = [url for url in page.requests if not url.startswith((gateway.url, "data:"))]
    assert len(page.requests) > 10 and elsewhere == []
    assert page.errors == []
