"""Benches on the page, in a real browser: what was measured, and measuring."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from browser.chromium import Page
from daiic.bench.figures import Measured, Round
from daiic.gateway.bench.store import BenchStore
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

CONTRAST = Path(__file__).with_name("poor_contrast.js").read_text()
NORTH = Measured(
    at=1_760_000_000,
    model="someone/a-model-with-a-very-long-name-that-goes-on-Instruct-v0.3",
    tokens=64,
    worker="n",
    name="north",
    version="0.1.0",
    backend="cuda",
    device="NVIDIA GeForce RTX 3090",
    engine="llama.cpp",
    quantization="Q4_K_M",
    placement="gpu",
    choice="",
    rounds=[
        Round(1, 140, 192, 50.0, 51.0, 0.1, 0.2, 1 << 30),
        Round(2, 140, 128, 90.0, 46.0, 0.15, 0.25, 1 << 30),
        Round(8, 140, 512, 250.0, 32.0, 0.4, 0.9, 3 << 30),
    ],
    notes=["it runs 4 tasks at once; further streams waited for their turn"],
)
SOUTH = msgspec.structs.replace(
    NORTH, worker="s", name="a-machine-with-a-very-long-name-in-some-rack", backend="cpu"
)
OTHER = msgspec.structs.replace(NORTH, model="small", rounds=NORTH.rounds[:1], notes=[])


@pytest.fixture
async def measured(start_gateway: StartGateway, tmp_path: Path) -> RunningGateway:
    """A gateway with results."""
    store = BenchStore(str(tmp_path))
    for result in (OTHER, NORTH, SOUTH):
        await store.add(result)
    return await start_gateway(f"--state-dir={tmp_path}")


async def test_results_are_a_chart_and_a_table_for_each_model(
    page: Page, measured: RunningGateway
) -> None:
    await page.go(f"{measured.url}/#speed")
    await page.until("document.querySelectorAll('.curves .line').length === 2")
    table = await page.text(".speeds")
    for shown in ("north", "RTX 3090", "250", "400\u202fms", "3.0 GiB", "prompt of 140 tokens"):
        assert shown in table
    assert "waited for their turn" in await page.text("#speed-notes")
    label = "document.querySelector('.curves svg').getAttribute('aria-label')"
    assert "tokens/s, all together" in await page.js(label)
    assert "250 at 8" in await page.js(label)
    await page.js("document.getElementById('speed-what').value = 'bytes'")
    await page.js("document.getElementById('speed-what').dispatchEvent(new Event('change'))")
    assert "3.0 GiB at 8" in await page.js(label)
    await page.js("document.getElementById('speed-model').value = 'small'")
    await page.js("document.getElementById('speed-model').dispatchEvent(new Event('change'))")
    assert await page.js("document.querySelectorAll('.curves .line').length") == 1
    assert await page.js("document.querySelectorAll('#speed-rows tr').length") == 1
    assert page.errors == []


async def test_a_bench_can_be_started_and_its_result_is_shown(
    page: Page, gateway: RunningGateway
) -> None:
    await page.go(f"{gateway.url}/#speed")
    await page.until("!document.getElementById('no-speeds').hidden")
    await page.until("!document.getElementById('bench-start').disabled")
    await page.js("document.getElementById('bench-form').elements.streams.value = '2'")
    await page.js("document.getElementById('bench-start').click()")
    await page.until("document.querySelectorAll('#speed-rows tr').length === 2")
    await page.until("document.getElementById('bench-start').innerText === 'Measure'")
    assert "stub" in await page.text(".speeds") and "AMD EPYC" in await page.text(".speeds")
    assert page.errors == []


async def test_a_bench_can_be_stopped(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def endless(task: pb.Task) -> AsyncIterator[pb.Result]:
        if task.HasField("text"):
            await asyncio.Event().wait()
        yield pb.Result(final=True)

    head.script = endless
    await page.go(f"{gateway.url}/#speed")
    await page.until("!document.getElementById('bench-start').disabled")
    await page.js("document.getElementById('bench-start').click()")
    await page.until("document.getElementById('bench-text').innerText.includes('stub')")
    await asyncio.wait_for(head.received(2), 10)
    assert await page.text("#bench-start") == "Stop"
    await page.js("document.getElementById('bench-start').click()")
    await asyncio.wait_for(head.cancelled.get(), 10)
    await page.until("document.getElementById('bench-start').innerText === 'Measure'")
    assert await page.js("document.getElementById('bench-problem').hidden")


async def test_why_a_bench_failed_is_said(page: Page, gateway: RunningGateway) -> None:
    await page.go(f"{gateway.url}/#speed")
    await page.until("!document.getElementById('bench-start').disabled")
    await page.js(
        "document.getElementById('bench-form').elements.model.append(new Option('gone', 'gone'))"
    )
    await page.js("document.getElementById('bench-form').elements.model.value = 'gone'")
    await page.js("document.getElementById('bench-start').click()")
    await page.until("document.getElementById('bench-problem').innerText.includes('gone')")


async def test_a_key_without_the_right_sees_results_but_no_form(
    page: Page, start_gateway: StartGateway, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("ann")
    await BenchStore(str(tmp_path)).add(NORTH)
    gateway = await start_gateway(f"--api-keys-file={keys.path}", f"--state-dir={tmp_path}")
    await page.go(f"{gateway.url}/#speed")
    await page.until("document.getElementById('key-dialog').open")
    await page.js("document.getElementById('key-input').focus()")
    await page.type(key)
    await page.press("Enter")
    await page.until("document.querySelector('.curves .line')")
    assert await page.js("document.getElementById('bench-form').hidden")
    assert "--may-bench" in await page.text("#bench-refused")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_results_can_be_read_in_both_colours(
    page: Page, measured: RunningGateway, scheme: str
) -> None:
    await page.look(1280, 860, scheme)
    await page.go(f"{measured.url}/#speed")
    await page.until("document.querySelectorAll('.curves .line').length === 2")
    assert await page.js(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 390, 700, 820])
async def test_results_fit_small_screens(page: Page, measured: RunningGateway, width: int) -> None:
    await page.look(width, 844)
    await page.go(f"{measured.url}/#speed")
    await page.until("document.querySelectorAll('.curves .line').length === 2")
    assert await page.js("document.documentElement.scrollWidth") <= width


async def test_everything_in_it_has_a_name(page: Page, measured: RunningGateway) -> None:
    await page.go(f"{measured.url}/#speed")
    await page.until("document.querySelectorAll('.curves .line').length === 2")
    acting = {"button", "link", "combobox", "spinbutton", "meter", "img", "table"}
    names = await page.names()
    assert {role for role, _ in names} >= {"combobox", "spinbutton", "table"}
    assert [role for role, name in names if role in acting and not name] == []
