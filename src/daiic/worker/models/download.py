"""Models from Hugging Face: how they are fetched, and how far that is.

`huggingface_hub` does the work, in threads since it blocks. A download that
nobody waits for any more goes on, and one that was cut off is resumed by the
next.
"""

import asyncio
import glob
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.hf_api import RepoSibling

from daiic.background import in_thread
from daiic.model_names import GGUF, plain
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.checkpoint_files import SUFFIX
from daiic.worker.models.download_errors import TooLarge, explained, no_space
from daiic.worker.models.gguf.choice import WORK
from daiic.worker.models.hub_cache import folder_of
from daiic.worker.models.names import GGUF_REPOSITORY, names_repository, repository_and_tag
from daiic.worker.models.repository_files import ModelFiles, choose_files
from daiic.worker.models.repository_ggufs import choose_ggufs, has_ggufs

POLL = 0.5
TIMEOUT = 15.0
OTHER_KINDS = frozenset({"model_index.json", "modules.json"})
"""In repositories of image and embedding models, which other engines run."""
SPARE = 256 << 20
"""Bytes that a download leaves free on its disk."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes that there are."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of a model's files are downloaded.

    With `gguf`, those in GGUF are preferred to others; `room` decides on their
    quantisation where the model's name does not. If this worker holds it `alone`,
    it must not be larger.
    """

    gguf: bool
    room: MemoryBudget
    alone: bool = True


@dataclass(frozen=True, slots=True)
class _Plan:
    """The files of the model `name`, what is known of each, and where their contents are stored."""

    name: str
    repository: str
    chosen: ModelFiles
    files: list[RepoSibling]
    blobs: Path
    total: int


async def fetch(
    name: str,
    cache_dir: Path | None,
    token: str | None,
    progress: Progress,
    preference: Preference,
) -> str:
    """Download the model with the Hugging Face id `name`, and return what it is called here.

    That is "owner/name:Q4_K_M" for one in GGUF files. `cache_dir` is `None` for
    Hugging Face's own.

    Raises:
        TaskError: MODEL_GATED, MODEL_NOT_FOUND, UNSAFE_WEIGHTS, BAD_REQUEST, or
            INTERNAL for a full disk or a server's trouble; TooLarge for a GGUF.
    """
    cache = cache_dir or Path(constants.HF_HUB_CACHE)
    try:
        plan = await in_thread(lambda: _plan(name, cache, token, preference))
        watcher = asyncio.create_task(_watch(plan, progress))
        try:
            # Weights come last: where they are complete, everything is.
            await _get(plan, cache, token, plan.chosen.texts)
            await _get(plan, cache, token, [*plan.chosen.texts, *plan.chosen.weights])
        finally:
            watcher.cancel()
    except (HTTPError, OSError, ValueError) as error:
        raise explained(name, cache, token is not None, error) from None
    progress(plan.total, plan.total)
    return plan.name


def _plan(name: str, cache: Path, token: str | None, preference: Preference) -> _Plan:
    repository, tag = repository_and_tag(plain(name)) or (name, "")
    siblings = _files(repository, token)
    if preference.gguf or tag:
        repository, siblings = _with_ggufs(repository, siblings, token)
    there = {item.rfilename: item.size or 0 for item in siblings}
    if tag or _is_better_as_gguf(there, preference):
        name, chosen = choose_ggufs(repository, there, tag, preference.room)
    else:
        name, chosen = repository, choose_files(repository, there)
    files = [item for item in siblings if item.rfilename in {*chosen.texts, *chosen.weights}]
    blobs = folder_of(cache, repository) / "blobs"
    plan = _Plan(name, repository, chosen, files, blobs, sum(item.size or 0 for item in files))
    cache.mkdir(parents=True, exist_ok=True)
    missing = plan.total - _present(plan)
    room = preference.room.vram_bytes + preference.room.ram_bytes
    if missing and preference.alone and _is_gguf(chosen) and plan.total + WORK > room:
        raise TooLarge(name, plan.total, room)
    if missing and missing + SPARE > shutil.disk_usage(cache).free:
        raise no_space(name, cache, missing)
    return plan


def _is_gguf(chosen: ModelFiles) -> bool:
    return all(file.endswith(GGUF) for file in chosen.weights)


def gguf_of(name: str, token: str | None) -> str:
    """Return the repository with the GGUF files of the model `name`, "" if none is found."""
    repository = name.partition(":")[0]
    if not names_repository(repository):
        return ""
    try:
        found, siblings = _with_ggufs(repository, _files(repository, token), token)
    except (HTTPError, OSError, ValueError):
        return ""
    return found if has_ggufs(item.rfilename for item in siblings) else ""


def _files(repository: str, token: str | None) -> list[RepoSibling]:
    info = HfApi(token=token).model_info(repository, files_metadata=True, timeout=TIMEOUT)
    return info.siblings or []


def _with_ggufs(
    repository: str, siblings: list[RepoSibling], token: str | None
) -> tuple[str, list[RepoSibling]]:
    """Return the same owner's repository of GGUF files instead, if there is one, and its files."""
    names = {item.rfilename for item in siblings}
    if has_ggufs(names) or names & OTHER_KINDS or repository.endswith(GGUF_REPOSITORY):
        return repository, siblings
    try:
        others = _files(repository + GGUF_REPOSITORY, token)
    except HfHubHTTPError:
        return repository, siblings
    if not has_ggufs(item.rfilename for item in others):
        return repository, siblings
    return repository + GGUF_REPOSITORY, others


def _is_better_as_gguf(files: Collection[str], preference: Preference) -> bool:
    if not has_ggufs(files) or OTHER_KINDS & set(files):
        return False
    return preference.gguf or not any(file.endswith(SUFFIX) for file in files)


async def _get(plan: _Plan, cache: Path, token: str | None, files: Sequence[str]) -> None:
    if files:
        patterns = [glob.escape(file) for file in files]
        await in_thread(
            lambda: snapshot_download(
                plan.repository, cache_dir=cache, token=token, allow_patterns=patterns
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
