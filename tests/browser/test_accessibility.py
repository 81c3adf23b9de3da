"""The page can be used by keyboard, with a screen reader, in both colours and on small screens."""

import asyncio
import json
from pathlib import Path

import pytest

from browser.chromium import Page
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

VIEWS = ("cluster", "chat", "images", "models", "speed", "usage", "connect")


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
        await page.until(
            "document.querySelector('.worker') && document.querySelector('#tasks table')"
        )
        assert await page.js("document.documentElement.scrollWidth") <= width, view
