"""The parts of a worker put together; importing this imports torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog
import torch

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from daiic.wire.udp import MeshSocket
from daiic.worker.backend import choose
from daiic.worker.cards.telemetry import Telemetry
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.llama_cpp.devices import Device
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.speculation import Guesses
from daiic.worker.engines.loading import EngineLoader
from daiic.worker.engines.registry import ENGINES, WITH_VLLM
from daiic.worker.engines.vllm.program import Ray
from daiic.worker.identity import Identity
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.memory.children import ChildMemory
from daiic.worker.memory.manager import ModelManager
from daiic.worker.memory.meter import MemoryMeter
from daiic.worker.memory.model_source import Downloads
from daiic.worker.metrics import Statistics
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.download import Preference, Progress, fetch, gguf_of
from daiic.worker.models.model import Model
from daiic.worker.node import Node
from daiic.worker.processors import cores
from daiic.worker.settings import WorkerSettings
from daiic.worker.sharding.group import Lead
from daiic.worker.sharding.lender import Lender
from daiic.worker.sharding.tunnel import secret_of
from daiic.worker.slices.division import Divisions
from daiic.worker.slices.host import SliceHost
from daiic.worker.slices.likeness import likeness

log = structlog.get_logger()


class Worker:
    """What runs once the backend is known: `node` and `manager`."""

    def __init__(
        self,
        settings: WorkerSettings,
        token: str | None,
        socket: MeshSocket,
        identity: Identity,
        statistics: Statistics,
        key: ClusterKey | None = None,
        llama_server: LlamaServer | None = None,
        listed: Sequence[Device] = (),
    ) -> None:
        """`token` is Hugging Face's, `listed` are the cards of `llama_server`.

        Raises:
            SettingsError: if the backend that is set cannot be used, or no memory be lent.
        """
        backend = choose(settings.backend, listed, settings.gpus)
        models_dir = Path(settings.models_dir).expanduser()
        if not models_dir.is_dir():
            log.warning("there is no models folder", models_dir=str(models_dir.absolute()))
        self._llama_server = llama_server or LlamaServer()
        self._cache_dir = Path(settings.cache_dir).expanduser() if settings.cache_dir else None
        self._drafts = {
            model: models_dir / Path(file).expanduser()
            for model, _, file in (draft.partition("=") for draft in settings.draft_models)
        }
        self._children = ChildMemory()
        self._meter = MemoryMeter(backend, settings.vram_limit, settings.ram_limit, self._children)
        self._backend = backend
        engines = WITH_VLLM if settings.engine == "vllm" else ENGINES
        self._prefers_gguf = (
            not backend.is_gpu and settings.engine == "auto" and self._llama_server.is_there
        )
        self._guesses = Guesses()
        self._divisions = Divisions()
        self._threads = 0
        if not backend.is_gpu:
            # torch's own number knows nothing of a control group's quota.
            self._threads = settings.threads or cores()
            torch.set_num_threads(self._threads)
        self._lead = Lead(
            identity.worker_id,
            identity.name,
            secret_of(key),
            key is not None,
            settings.shard_interface,
            likeness(backend, settings.precision),
        )
        self._loader = EngineLoader(self._options(settings, token), engines)
        self._downloads = Downloads(self._fetch, self._gguf_of)
        self.manager = ModelManager(
            Catalog(
                models_dir,
                self._cache_dir,
                self._room,
                prefers_gguf=self._prefers_gguf,
                ollama_dir=Path(settings.ollama_dir) if settings.ollama_dir else None,
                engines=engines,
                complete=self._complete,
            ),
            self._meter,
            self._loader,
            self._downloads if settings.allow_downloads else None,
            ram_offload=settings.ram_offload,
            on_change=lambda: self.node.heads.hurry(),
        )
        self.lender: Lender | None = None
        if settings.shard:
            self.lender = Lender(
                settings.shard_listen,
                self._lead,
                self._lendable,
                settings.threads or cores(),
                lambda: self.node.heads.hurry(),
            )
        self.slices: SliceHost | None = None
        if settings.shard_interface:
            self.slices = SliceHost(
                self._lead,
                lambda: self._loader.options,
                lambda: self._meter.budget(self.manager.table.held),
                self.manager.on_disk,
                lambda: self.node.heads.hurry(),
            )
        self.manager.table.lent = self._lent
        self.node = Node(
            socket,
            identity,
            backend,
            self._meter,
            Telemetry(backend),
            self.manager,
            head_names=settings.heads,
            slots=settings.slots,
            tags=settings.tags,
            statistics=statistics,
            encrypted=key is not None,
            offer=self._offer,
        )
        log.info("computing on", backend=pb.Backend.Name(backend.kind).lower(), device=backend.name)

    async def preload(self, names: tuple[str, ...]) -> None:
        """Load models; those that fail are logged and shown in heartbeats, and do no more harm."""
        for name in names:
            try:
                (await self.manager.lease(name)).release()
            except TaskError as error:
                log.error("a model from the settings is not loaded", model=name, reason=str(error))

    def follow(self, settings: WorkerSettings, token: str | None) -> None:
        """Take over the settings that may change, for models loaded from now on."""
        self._meter.vram_limit, self._meter.ram_limit = settings.vram_limit, settings.ram_limit
        self._loader.options = self._options(settings, token)
        self.manager.memory.ram_offload = settings.ram_offload
        self.manager.source.downloads = self._downloads if settings.allow_downloads else None
        self.node.heads.hurry()

    def _options(self, settings: WorkerSettings, token: str | None) -> LoadOptions:
        ray = None
        if settings.ray_address:
            ray = Ray(settings.ray_address, settings.ray_machines)
        return LoadOptions(
            self._backend,
            quantization=settings.quantization,
            room=self._meter.most(),
            precision=settings.precision,
            threads=self._threads,
            fewer_threads=not settings.threads,
            ram_offload=settings.ram_offload,
            slots=settings.slots,
            allow_downloads=settings.allow_downloads,
            token=token,
            cache_dir=self._cache_dir,
            llama_server=self._llama_server,
            drafts=self._drafts,
            guesses=self._guesses,
            lead=self._lead,
            children=self._children,
            ray=ray,
        )

    async def _fetch(self, name: str, progress: Progress, alone: bool) -> str:
        preference = Preference(self._prefers_gguf, self._room(), alone)
        token = self._loader.options.token
        return await fetch(name, self._cache_dir, token, progress, preference)

    async def _gguf_of(self, name: str) -> str:
        token = self._loader.options.token
        return await in_thread(lambda: gguf_of(name, token))

    def _lendable(self) -> int:
        """Return the bytes that other workers' models may take, of the memory that has them."""
        budget = self._meter.budget(self.manager.table.held)
        return budget.vram_bytes if self._backend.is_gpu else budget.ram_bytes

    def _lent(self) -> int:
        """Return the bytes that other workers' models hold here."""
        return sum(one.held for one in (self.lender, self.slices) if one is not None)

    def _offer(self) -> pb.ShardOffer | None:
        """Return what heartbeats tell of this worker's part in other workers' models."""
        offer = self.lender.offer() if self.lender is not None else None
        if self.slices is not None:
            offer = offer or pb.ShardOffer(links=self._lead.links.values())
            self.slices.describe(offer)
        return offer

    def _complete(self, model: Model) -> Model:
        """Say of `model` how like machines could compute it, if this worker is one of such."""
        if not self._lead.interface or model.kind != pb.TEXT or not model.path.is_dir():
            return model
        options = self._loader.options
        parts = self._divisions.of(
            model.path, options.backend, options.quantization, options.precision
        )
        if parts is None:
            return model
        slices = pb.ModelSlices(
            bytes=parts.divided_with_work, each=parts.each_with_work, most=parts.most
        )
        return replace(model, needs=parts.alone, slices=slices)

    def _room(self) -> MemoryBudget:
        return self._meter.room(self.manager.table.held)
