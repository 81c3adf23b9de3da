"""From a model on disk to the engine that runs it."""

import gc
import importlib
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from daiic.background import in_thread
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.engines.interface import Engine
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.catalog import Model
from daiic.worker.models.model_view import checked_view
from daiic.worker.settings import WorkerSettings

_PACKAGES = {
    pb.TEXT: "transformers_text",
    pb.IMAGE: "diffusers",
    pb.EMBEDDING: "transformers_embedding",
}


class EngineLoader:
    """Loads models on one backend, as `settings` says, which may be exchanged."""

    def __init__(
        self,
        backend: Backend,
        settings: WorkerSettings,
        token: str | None,
        cache_dir: Path | None,
    ) -> None:
        """`token` is Hugging Face's; `cache_dir` is `None` for Hugging Face's own."""
        self._backend = backend
        self._cache_dir = cache_dir
        self._has_loaded = False
        self.settings = settings
        self.token = token

    async def __call__(
        self, model: Model, budget: MemoryBudget, progress: Callable[[float], None]
    ) -> Engine:
        """Load `model` within `budget`; `progress` is called with 0 to 1 in the event loop.

        Raises:
            TaskError, torch.OutOfMemoryError: if it cannot be loaded.
        """
        # Each brings a library that takes seconds to import, so not before it is needed.
        package = _PACKAGES[model.kind]
        await in_thread(lambda: importlib.import_module(f"daiic.worker.engines.{package}"))
        if not self._has_loaded:
            # Collections at every unload would stop the event loop for long, searching what
            # the libraries have made. Later there are models among it, which have to go.
            self._has_loaded = True
            gc.freeze()
        with ExitStack() as view:
            path = await in_thread(lambda: view.enter_context(checked_view(model)))
            return await self._load(package, path, budget, progress)

    async def _load(
        self,
        package: str,
        path: Path,
        budget: MemoryBudget,
        progress: Callable[[float], None],
    ) -> Engine:
        settings = self.settings
        if package == "diffusers":
            from daiic.worker.engines.diffusers import load_image

            return await load_image(
                path,
                backend=self._backend,
                quantization=settings.quantization,
                budget=budget,
                ram_offload=settings.ram_offload,
                allow_downloads=settings.allow_downloads,
                token=self.token,
                cache_dir=self._cache_dir,
                progress=progress,
            )
        if package == "transformers_embedding":
            from daiic.worker.engines.transformers_embedding import load_embedding

            load: Callable[..., Awaitable[Engine]] = load_embedding
        else:
            from daiic.worker.engines.transformers_text import load_text

            load = load_text
        return await load(
            path,
            backend=self._backend,
            quantization=settings.quantization,
            budget=budget,
            ram_offload=settings.ram_offload,
            slots=settings.slots,
            progress=progress,
        )
