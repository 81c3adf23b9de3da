"""Making images on the page, in a real browser."""

import asyncio
from collections.abc import AsyncIterator

from browser.chromium import Page
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead, echo
from support.processes.gateway_process import RunningGateway


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
