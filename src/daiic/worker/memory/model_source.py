"""Where a model comes from that a task names: this machine's disk, or Hugging Face."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.model_entry import ModelEntry
from daiic.worker.memory.model_table import ModelTable
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.download_errors import TooLarge
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.model import Model
from daiic.worker.models.names import gguf_among

Fetch = Callable[[str, Callable[[int, int], None], bool], Awaitable[str]]
"""Downloads the model of a name, and returns the name that it has on the disk.

If the last argument is true it has to fit into this worker's memory.
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Downloads:
    """What a worker may have from Hugging Face.

    `gguf_of` returns the name of a repository with a model's GGUF files, "" if there is none.
    """

    fetch: Fetch
    gguf_of: Callable[[str], Awaitable[str]]


class ModelSource:
    """The models of `catalog`; `downloads` is `None` where those are not allowed."""

    def __init__(self, catalog: Catalog, table: ModelTable, downloads: Downloads | None) -> None:
        self.downloads = downloads
        self._catalog = catalog
        self._table = table

    async def bring(self, entry: ModelEntry) -> Model:
        """Return the model of `entry`, which is on this machine afterwards.

        Raises:
            TaskError: if it is not, and cannot be downloaded.
        """
        name = entry.name
        model = await in_thread(lambda: self._catalog.find(name))
        model = model or await in_thread(lambda: self._catalog.downloaded(name))
        if model is not None:
            return model
        if self.downloads is None:
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"{name} is not on this worker's disk, and it may not download models",
                "set allow_downloads = true, or put the model into the models folder",
            )
        log.info("downloading", model=name)
        self._table.set_state(entry, pb.DOWNLOADING)

        def progress(here: int, total: int) -> None:
            entry.advance(pb.DOWNLOADING, here, total)

        try:
            here = await self.downloads.fetch(name, progress, not entry.plan)
        except TooLarge as error:
            entry.size = error.needs, error.lead_needs  # heads form a group by that
            raise
        model = await in_thread(lambda: self._catalog.downloaded(here))
        if model is None:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{name} was downloaded, but is not a model that workers can run",
                "choose a repository in the format of transformers or diffusers",
            )
        return model

    async def explained(self, error: TaskError, model: Model) -> TaskError:
        """Return `error`, that memory does not suffice, with what could be done about `model`.

        Only models in GGUF are held by several workers; one that is like it is named.
        """
        if error.code != pb.OUT_OF_MEMORY or model.kind != pb.TEXT or is_gguf(model.path.name):
            return error
        there = await in_thread(self._catalog.scan)
        ggufs = [one.name for one in there if is_gguf(one.path.name)]
        found = gguf_among(ggufs, model.name)
        if not found and self.downloads is not None:
            found = await self.downloads.gguf_of(model.name)
        return TaskError(
            error.code,
            error.message,
            f"{error.remedy}; several workers with shard = true hold together only models in GGUF: "
            + (f"use {found}" if found else "put one of this model on a worker"),
        )
