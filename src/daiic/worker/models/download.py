"""Models from Hugging Face: how they are fetched, and how far that is.

`huggingface_hub` does the work, in threads since it blocks. A download that
nobody waits for any more goes on, and one that was cut off is resumed by the
next.
"""

import asyncio
import glob
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from huggingface_hub.hf_api import RepoSibling

from daiic.background import in_thread
from daiic.worker.models.download_errors import explained, no_space
from daiic.worker.models.repository_files import choose_files

POLL = 0.5
TIMEOUT = 15.0
SPARE = 256 << 20
"""Bytes that a download leaves free on its disk."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes that there are."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The files of a model, what is known of each, and where their contents are stored."""

    texts: list[str]
    weights: list[str]
    files: list[RepoSibling]
    blobs: Path
    total: int


async def fetch(name: str, cache_dir: Path | None, token: str | None, progress: Progress) -> Path:
    """Download the model with the Hugging Face id `name` and return its folder.

    `cache_dir` is `None` for Hugging Face's own.

    Raises:
        TaskError: MODEL_GATED, MODEL_NOT_FOUND, UNSAFE_WEIGHTS, BAD_REQUEST, or
            INTERNAL for a full disk or a server's trouble.
    """
    cache = cache_dir or Path(constants.HF_HUB_CACHE)
    try:
        plan = await in_thread(lambda: _plan(name, cache, token))
        watcher = asyncio.create_task(_watch(plan, progress))
        try:
            # Weights come last: where they are complete, everything is.
            await _get(name, cache, token, plan.texts)
            path = await _get(name, cache, token, [*plan.texts, *plan.weights])
        finally:
            watcher.cancel()
    except (HTTPError, OSError, ValueError) as error:
        raise explained(name, cache, token is not None, error) from None
    progress(plan.total, plan.total)
    return path


def _plan(name: str, cache: Path, token: str | None) -> _Plan:
    info = HfApi(token=token).model_info(name, files_metadata=True, timeout=TIMEOUT)
    siblings = info.siblings or []
    chosen = choose_files(name, [item.rfilename for item in siblings])
    files = [item for item in siblings if item.rfilename in {*chosen.texts, *chosen.weights}]
    blobs = cache / f"models--{name.replace('/', '--')}" / "blobs"
    plan = _Plan(chosen.texts, chosen.weights, files, blobs, sum(item.size or 0 for item in files))
    cache.mkdir(parents=True, exist_ok=True)
    missing = plan.total - _present(plan)
    if missing and missing + SPARE > shutil.disk_usage(cache).free:
        raise no_space(name, cache, missing)
    return plan


async def _get(name: str, cache: Path, token: str | None, files: Sequence[str]) -> Path:
    patterns = [glob.escape(file) for file in files]
    return Path(
        await in_thread(
            lambda: snapshot_download(name, cache_dir=cache, token=token, allow_patterns=patterns)
        )
    )


async def _watch(plan: _Plan, progress: Progress) -> None:
    while True:
        progress(await in_thread(lambda: _present(plan)), plan.total)
        await asyncio.sleep(POLL)


def _present(plan: _Plan) -> int:
    """Return the bytes of the files that are in the cache, whole or in part."""
    sizes = {item.lfs.sha256 if item.lfs else item.blob_id: item.size or 0 for item in plan.files}
    here: dict[str, int] = {}
    for path in plan.blobs.glob("*"):
        content = path.name.partition(".")[0]
        try:
            stat = path.stat()
        except FileNotFoundError:  # renamed meanwhile
            continue
        # What is not whole yet may have holes.
        size = stat.st_blocks * 512 if path.suffix else stat.st_size
        here[content] = max(here.get(content, 0), size)
    return sum(min(here.get(content or "", 0), size) for content, size in sizes.items())
