"""The chat view, as a person uses it."""

from browser.chromium import Page

LAST_FOOT = "(document.querySelector('.message.assistant:last-child .foot')?.innerText ?? '')"


async def ask(page: Page, text: str) -> None:
    """Type `text` and send it."""
    await page.until("!document.getElementById('send').disabled")
    await page.js("document.getElementById('say').focus()")
    await page.type(text)
    await page.press("Enter")
