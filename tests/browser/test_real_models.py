"""The page before a real cluster: real words, real pictures."""

from pathlib import Path

from browser.chromium import Page
from support.processes.real_cluster import CHAT, IMAGE, real_cluster


async def test_a_visitor_chats_and_paints_with_real_models(page: Page, tmp_path: Path) -> None:
    async with real_cluster(tmp_path, "this-machine") as gateway:
        await page.go(gateway.url)
        await page.until("document.querySelector('.worker')")
        card = await page.text(".worker")
        assert "this-machine" in card and CHAT in card and IMAGE in card
        await page.js("location.hash = 'chat'")
        await page.js("document.getElementById('say').focus()")
        await page.type("What is DAIIC?")
        await page.press("Enter")
        await page.until("document.querySelectorAll('.message.assistant .link').length === 2", 60)
        assert len((await page.text(".message.assistant .body")).split()) >= 3
        await page.js("location.hash = 'images'")
        for name, value in {"prompt": "'a red circle'", "steps": "8", "seed": "3"}.items():
            await page.js(f"document.getElementById('image-form').elements.{name}.value = {value}")
        await page.js("document.getElementById('make').click()")
        await page.until("document.getElementById('making-count').innerText.includes('/ 8')", 60)
        await page.until("document.querySelector('.picture img')?.naturalWidth === 64", 60)
        await page.js("location.hash = 'cluster'")
        await page.until("document.querySelectorAll('#tasks tbody tr').length === 2")
        assert page.errors == []
