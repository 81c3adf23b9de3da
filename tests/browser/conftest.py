"""A browser before a gateway before a head that the test scripts."""

from collections.abc import AsyncIterator, Iterator

import pytest

from browser.chromium import Page, browser, find_chromium, open_page
from integration.gateway.conftest import gateway, head, keys, start_gateway

__all__ = ["gateway", "head", "keys", "start_gateway"]


@pytest.fixture(scope="session")
def browser_port() -> Iterator[int]:
    if find_chromium() is None:
        pytest.skip("needs chromium; DAIIC_CHROMIUM may name one that is elsewhere")
    with browser() as port:
        yield port


@pytest.fixture
async def page(browser_port: int) -> AsyncIterator[Page]:
    async with open_page(browser_port) as page:
        await page.look(1280, 860)
        yield page
