"""A browser before a gateway before a head that the test scripts."""

from collections.abc import AsyncIterator, Iterator

import pytest

from browser.chromium import Page, browser, find_chromium, open_page
from integration.gateway.conftest import gateway, head, start_gateway

__all__ = ["gateway", "head", "start_gateway"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser these tests are skipped, and say so."""
    if find_chromium() is None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no chromium here; DAIIC_CHROMIUM names one"))


@pytest.fixture(scope="session")
def browser_port() -> Iterator[int]:
    with browser() as port:
        yield port


@pytest.fixture
async def page(browser_port: int) -> AsyncIterator[Page]:
    async with open_page(browser_port) as page:
        await page.look(1280, 860)
        yield page
