"""Makes docs/images/explained.png: what `hydramesh policy explain` says in docs/policies.md."""

import asyncio
import html
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.chromium import browser, open_page

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "src/hydramesh/build/hydramesh"
STYLE = (
    "body{margin:0;background:#16181d;color:#d7dae0;font:15px/1.45 'DejaVu Sans Mono',monospace}"
    "pre{margin:0;padding:24px 28px}.typed{color:#8ec07c}b{color:#fabd2f;font-weight:normal}"
)


def block(document: str, language: str, part: str) -> str:
    """Return the example of docs/policies.md that has that part."""
    examples = re.findall(rf"^```{language}\n(.*?)^```$", document, re.M | re.S)
    (found,) = (text for text in examples if part in text)
    return str(found)


def explained(document: str) -> tuple[str, str]:
    """Return the command of the example, and what it prints."""
    shown = block(document, "console", "$ hydramesh policy explain")
    command = re.match(r"\$ ((?:.*\\\n)*.*)\n", shown)
    assert command
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "house.policy").write_text(block(document, "lisp", '(policy "house"'))
        Path(folder, "cluster.json").write_text(block(document, "json", '{"workers"'))
        done = subprocess.run(
            ["bash", "-c", command[1].replace("hydramesh", str(PROGRAM), 1)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    return command[1], done.stdout


def page_of(command: str, output: str) -> str:
    lines = html.escape(output)
    lines = re.sub(r"^(-&gt;.*|desk gets it)$", r"<b>\1</b>", lines, flags=re.M)
    typed = f'<span class="typed">$ {html.escape(command)}</span>'
    return f"<!doctype html><style>{STYLE}</style><pre>{typed}\n{lines}</pre>"


async def main(target: Path) -> None:
    command, output = explained((ROOT / "docs/policies.md").read_text("utf-8"))
    height = 48 + 22 * (output.count("\n") + command.count("\n") + 1)
    with browser() as port:
        async with open_page(port) as page:
            await page.look(1080, height, "dark")
            await page.go("data:text/html;charset=utf-8," + quote(page_of(command, output)))
            target.write_bytes(await page.screenshot())
    print(f"wrote {target}, {target.stat().st_size // 1024} kB")


if __name__ == "__main__":
    asyncio.run(
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images/explained.png")
    )
