"""Every link of every Markdown file leads somewhere, and every path that it names exists."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = "|".join(
    re.escape(entry.name)
    for entry in ROOT.iterdir()
    if entry.is_dir() and entry.name not in (".git", ".venv", "build")
)
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./*-]+)`")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout


LISTED = git("ls-files", "--cached", "--others", "--exclude-standard", "*.md").split()
PAGES = [page for page in LISTED if (ROOT / page).exists()]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    text = FENCE.sub("", page.read_text("utf-8"))
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        made.add(f"{slug}-{number}" if number else slug)
    return made


def test_there_are_pages() -> None:
    assert {"README.md", "docs/operations.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = FENCE.sub("", (ROOT / page).read_text("utf-8"))
    broken = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_exists(page: str) -> None:
    named = set(PATH.findall((ROOT / page).read_text("utf-8")))
    bases = (ROOT, (ROOT / page).parent)
    missing = {
        path for path in named if not any(any(base.glob(path.rstrip("/"))) for base in bases)
    }
    built = set(git("check-ignore", *missing).split()) if missing else set()
    assert missing - built == set()
