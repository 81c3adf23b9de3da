"""The page's view of what was used, and logging in, in a real browser."""

import datetime
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from browser.chromium import Page
from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.usage.amounts import Amounts
from daiic.gateway.usage.database import Used
from daiic.gateway.usage.store import UsageStore
from integration.gateway.conftest import StartGateway
from support.peers.oidc_provider import CLIENT_ID, OidcProvider
from support.processes.gateway_process import RunningGateway

CONTRAST = Path(__file__).with_name("poor_contrast.js").read_text()
TODAY = datetime.datetime.now(datetime.UTC).date()
LONG = "someone/a-model-with-a-very-long-name-that-goes-on-Instruct-v0.3"
ROWS = "document.querySelectorAll('#usage-rows tr').length"


def used(account: str, name: str, model: str, days_ago: int, **amounts: float) -> Used:
    day = (TODAY - datetime.timedelta(days_ago)).isoformat()
    return Used(day, account, name, model, Amounts(**amounts))


@pytest.fixture
async def counted(start_gateway: StartGateway, tmp_path: Path) -> RunningGateway:
    """A gateway without keys, whose database knows of former ones."""
    store = UsageStore(str(tmp_path), 400)
    store.open()
    store.add(
        [
            used("k1", "a-program-with-a-long-name", LONG, 0, requests=2, prompt_tokens=70_000),
            used("k1", "a-program-with-a-long-name", "small", 40, requests=9, prompt_tokens=5),
            used("k2", "laptop", LONG, 1, requests=3, errors=1, completion_tokens=1200),
            used("k2", "laptop", "painter", 1, requests=1, images=4),
        ]
    )
    store.close()
    return await start_gateway(f"--state-dir={tmp_path}")


async def choose(page: Page, select: str, value: str) -> None:
    await page.js(f"document.getElementById({json.dumps(select)}).value = {json.dumps(value)}")
    await page.js(
        f"document.getElementById({json.dumps(select)}).dispatchEvent(new Event('change'))"
    )


async def test_use_is_shown_by_key_by_model_and_by_day(page: Page, counted: RunningGateway) -> None:
    await page.go(f"{counted.url}/#usage")
    await page.until(f"{ROWS} === 2")
    table = await page.text("#usage-results")
    for shown in ("71,200 tokens", "laptop", "70,000", "1,200", "Images"):
        assert shown in table
    assert "Embeddings" not in table
    await choose(page, "usage-split", "model")
    await page.until("document.getElementById('usage-rows').innerText.includes('painter')")
    assert await page.js(ROWS) == 2
    await choose(page, "usage-split", "day")
    await page.until(
        f"document.getElementById('usage-rows').innerText.includes('{TODAY.isoformat()}')"
    )
    await choose(page, "usage-span", "90")
    await page.until(f"{ROWS} === 3")
    await choose(page, "usage-span", "1")
    await page.until(f"{ROWS} === 1")
    assert page.errors == []


async def test_key_sees_its_own_use_and_nothing_is_said_to_be_nothing(
    page: Page, start_gateway: StartGateway, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    await page.go(f"{gateway.url}/#usage")
    await page.until("document.getElementById('key-dialog').open")
    assert await page.js("document.getElementById('login').hidden")
    await page.js("document.getElementById('key-input').focus()")
    await page.type(key)
    await page.press("Enter")
    await page.until("!document.getElementById('no-usage').hidden")
    async with gateway.http as http:
        body = {"model": "stub-chat", "prompt": "x y"}
        headers = {"Authorization": f"Bearer {key}"}
        await http.post("/v1/completions", json=body, headers=headers)
    await page.go(f"{gateway.url}/?again#usage")
    await page.until(f"{ROWS} === 1")
    assert "ann" in await page.text("#usage-rows")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_use_can_be_read_in_both_colours(
    page: Page, counted: RunningGateway, scheme: str
) -> None:
    await page.look(1280, 860, scheme)
    await page.go(f"{counted.url}/#usage")
    await page.until(f"{ROWS} === 2")
    assert await page.js(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 390, 700, 820])
async def test_use_fits_small_screens(page: Page, counted: RunningGateway, width: int) -> None:
    await page.look(width, 844)
    await page.go(f"{counted.url}/#usage")
    await page.until(f"{ROWS} === 2")
    await choose(page, "usage-split", "model")
    await page.until("document.getElementById('usage-rows').innerText.includes('painter')")
    assert await page.js("document.documentElement.scrollWidth") <= width


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with OidcProvider() as provider:
        yield provider


async def test_one_can_log_in_use_the_page_and_log_out(
    page: Page, start_gateway: StartGateway, provider: OidcProvider, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret: with/odd characters")
    with socket.socket() as free:  # a login needs to know the address before
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    gateway = await start_gateway(
        f"--oidc-issuer={provider.issuer}",
        f"--oidc-client-id={CLIENT_ID}",
        f"--oidc-client-secret-file={secret}",
        "--oidc-allowed-emails=*",
        f"--public-url=http://{address}",
        f"--listen={address}",
    )
    await page.go(f"{gateway.url}/#chat")
    await page.until("document.getElementById('key-dialog').open")
    await page.until("!document.getElementById('login').hidden")
    await page.js("document.querySelector('#login a').click()")
    await page.until("document.querySelector('.worker')")
    assert not await page.js("document.getElementById('key-dialog').open")
    await page.until("!document.getElementById('logout-button').hidden")
    await page.js("location.hash = '#chat'")
    await page.until("document.getElementById('chat-model').value === 'stub-chat'")
    await page.js("document.getElementById('say').focus()")
    await page.type("hello")
    await page.press("Enter")
    await page.until("document.getElementById('chat').innerText.split('hello').length > 2")
    await page.js("location.hash = '#usage'")
    await page.until(f"{ROWS} === 1")
    assert "ann@example.org" in await page.text("#usage-rows")
    await page.js("document.getElementById('logout-button').click()")
    await page.until("document.getElementById('key-dialog')?.open")
