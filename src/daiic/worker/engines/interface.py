"""What the worker asks of engines, whatever runs their models, and how they report trouble.

An engine may run its models in this process or in a child process of its own:
it measures their memory itself, says when what ran a model is gone, and raises
the errors below, never those of the library that it uses.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.speculation import Guesses, Speculation
from daiic.worker.engines.vllm.program import Ray
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.memory.children import ChildMemory
from daiic.worker.models.model import Model
from daiic.worker.sharding.group import Lead
from daiic.worker.sharding.plan import ALONE, Plan

if TYPE_CHECKING:
    from daiic.worker.backend import Backend


class EngineOutOfMemory(Exception):
    """Memory ran out. The engine is of no use after that; its tasks can continue on another."""


class EngineDied(Exception):
    """What ran the model is gone, a child process for example; the message says why."""


class EngineRestarted(Exception):
    """What ran the model was started again on purpose; its tasks continue where they were."""


class DeviceLost(Exception):
    """The accelerator no longer serves this process; only a new process helps."""


class ModelRefused(TaskError):
    """A model has shown that it must not be used on this worker; its code moves no task."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How models are loaded: on what, how far quantised, and for how many tasks at once.

    `quantization` is "auto", "none", "8bit" or "4bit", as it is asked for, and
    `room` how many bytes of the memory that models go to first there are for
    them at most, 0 if that is not known. `precision` is what a CPU computes in:
    "auto", "float32" or "bfloat16". `threads` compute
    on a CPU, as many as the engine likes if it is 0; with `fewer_threads` it may
    find out that fewer are faster. `ram_offload`
    allows weights that do not fit the GPU to stay in RAM. With `allow_downloads`
    a configuration that a checkpoint lacks may be fetched from Hugging Face, with
    `token`, into `cache_dir`; `None` is the library's own. `llama_server` is the program
    for GGUF files, and `drafts` are the files of draft models for some, by their names.
    `guesses` remembers
    for which models guessing tokens ahead does not pay, `children` what child processes
    hold of the cards. `model` is what is
    loaded: its name finds its draft, and other machines are told of it. `plan` says which of
    those hold parts of it, and `lead` is what it takes to reach them. `ray` is where vLLM may
    put models that do not fit here.
    """

    backend: "Backend"
    quantization: str = "none"
    room: int = 0
    precision: str = "auto"
    threads: int = 0
    fewer_threads: bool = False
    ram_offload: bool = True
    slots: int = 1
    allow_downloads: bool = False
    token: str | None = None
    cache_dir: Path | None = None
    llama_server: LlamaServer = field(default_factory=LlamaServer)
    drafts: Mapping[str, Path] = field(default_factory=dict)
    guesses: Guesses = field(default_factory=Guesses)
    lead: Lead | None = None
    plan: Plan = ALONE
    model: Model | None = None
    children: ChildMemory = field(default_factory=ChildMemory)
    ray: Ray | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """What a model on the disk is to an engine that can run it.

    `reasons` says whether the engine tells its reasoning from its text.
    """

    model_kind: pb.ModelKind
    capabilities: frozenset[pb.Capability]
    reasons: bool = False


class Engine(Protocol):
    """A model in memory that answers tasks.

    `model_kind` says which tasks, and `capabilities` what they may ask for.
    `quantization` ("none", "8bit", "4bit", or as a GGUF calls it) and
    `placement` ("gpu", "gpu+ram", "ram") are in force; `fallback` says why that
    is less than was asked for or possible, or is empty. `precision` is what it
    computes in ("float32", "bfloat16", "float16"), empty where the library
    decides that by itself. `library` is what
    computes ("llama.cpp", "transformers", "diffusers", "vLLM"), and `choice` says in
    one short sentence why it is run in this way.
    """

    library: str
    choice: str
    model_kind: pb.ModelKind
    capabilities: frozenset[pb.Capability]
    quantization: str
    precision: str
    placement: str
    fallback: str

    @property
    def footprint(self) -> int:
        """The memory that it holds now, in bytes, wherever that is."""

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""

    @property
    def alive(self) -> bool:
        """Whether it can still run tasks; if not, it is closed, and loaded again when needed."""

    def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer `task` in parts, the last one `final`; closing the generator cancels it.

        `id`, `index`, `worker_id` and `model` are left to the caller. Tasks may
        run at the same time.

        Raises:
            TaskError: if the task cannot be answered, in words for its sender.
            ModelRefused: if the model must not be used any more.
            EngineOutOfMemory, EngineDied, EngineRestarted, DeviceLost: as those say.
        """

    async def close(self) -> None:
        """Cancel what runs and give the memory back."""


@runtime_checkable
class GuessesAhead(Protocol):
    """An `Engine` that may guess tokens ahead; `speculation` is `None` while it does not."""

    speculation: Speculation | None


@runtime_checkable
class KeepsPrompts(Protocol):
    """An `Engine` that reads no beginning twice which it still has, of `cache_tokens` in all."""

    @property
    def cache_tokens(self) -> int:
        """Tokens of prompts and answers that it can keep at a time, 0 if that is not known."""


@runtime_checkable
class Adaptable(Protocol):
    """An `Engine` whose model has `adapters`, which tasks name."""

    adapters: Sequence[str]


@runtime_checkable
class HeldByMany(Protocol):
    """An `Engine` whose model other machines hold parts of; `shards` has all parts, or none."""

    shards: Sequence[pb.Shard]


@runtime_checkable
class HasVoices(Protocol):
    """An `Engine` that speaks; `voices` are the names of those that a task may ask for."""

    voices: Sequence[str]


class EngineModule(Protocol):
    """The module of an engine that loads models with it; importing it may take seconds."""

    def footprint(self, model: Model, options: LoadOptions) -> int:
        """Return the bytes that `model` will need for weights, caches and work; reads the disk.

        They are those of the GPU's own memory if the backend has any, else of RAM.

        Raises:
            TaskError: if its weights cannot be used.
        """

    async def load(
        self,
        path: Path,
        options: LoadOptions,
        budget: MemoryBudget,
        progress: Callable[[float], None],
    ) -> Engine:
        """Load the model at `path`, whose files were checked, within `budget`.

        `path` is gone afterwards. `progress` is called with 0 to 1, in the event loop.

        Raises:
            TaskError: OUT_OF_MEMORY if the budget is too small; else if the
                model cannot be loaded, in words for the sender of the task.
            EngineOutOfMemory, EngineDied, DeviceLost: as those say.
        """


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An engine as the registry has it.

    `probe` looks at the model `name` at a path, without loading anything, and
    returns what it is to this engine; `None` if it cannot run it. It raises a
    TaskError or an OSError for files that cannot be read. `module` is the name
    of an `EngineModule`. `over_cards` says whether a model may lie on several cards,
    `without_torch` whether it computes on cards that torch does not know.
    """

    name: str
    probe: Callable[[Path, str], Probed | None]
    module: str
    over_cards: bool = True
    without_torch: bool = False
