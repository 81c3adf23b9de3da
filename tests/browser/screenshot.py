"""Makes docs/images/page.png: the page before a real cluster that has something to do."""

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.chromium import browser, open_page
from support.processes.gateway_process import RunningGateway
from support.processes.real_cluster import CHAT, ROOT, real_cluster

QUESTIONS = ["What is DAIIC?", "Tell me a story.", "Count to twenty.", "What is a worker?"]
SECONDS = 75


async def keep_busy(gateway: RunningGateway) -> None:
    """Ask more and less, in waves, so that the curve has a shape."""
    client = gateway.openai

    async def ask(number: int) -> None:
        messages = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
        stream = await client.chat.completions.create(
            model=CHAT, messages=messages, stream=True, max_tokens=200, temperature=0.8
        )
        async for _ in stream:
            pass

    end = asyncio.get_running_loop().time() + SECONDS
    number = 0
    while asyncio.get_running_loop().time() < end:
        at_once = (1, 2, 4, 6, 4, 2)[number // 4 % 6]
        await asyncio.gather(*(ask(number + i) for i in range(at_once)))
        number += 1
    async with gateway.http as http:
        await http.post("/v1/images/generations", json={"prompt": "a red circle", "steps": 8})


async def main(target: Path) -> None:
    with browser() as port, tempfile.TemporaryDirectory() as state:
        async with real_cluster(Path(state), "north", "south") as gateway, open_page(port) as page:
            await page.look(1280, 900, "light")
            await page.go(gateway.url)
            await keep_busy(gateway)
            running = [asyncio.create_task(keep_busy(gateway)) for _ in range(2)]
            await asyncio.sleep(4)
            target.write_bytes(await page.screenshot())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    print(f"wrote {target}, {target.stat().st_size // 1024} kB")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "page.png"
    asyncio.run(main(target))
