"""llama-server's command line: which program, with which files, for how many tasks."""

import re
import shutil
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.asking import said_by
from daiic.worker.engines.llama_cpp.devices import PROGRAM
from daiic.worker.engines.llama_cpp.placement import Placement

WHEEL = "xllamacpp"
LAUNCHER = "daiic.worker.engines.llama_cpp.wheel"
HELP_PATIENCE = 60.0
"""Seconds that a program has to tell its options; some look for cards first."""
MAX_HELP = 1 << 20
"""Bytes of that."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is started with.

    `slots` tasks run at once, and share a cache of so many `tokens`; one that `embeds` reads whole
    texts of so many. `lookup` turns on guessing from the text itself, `draft` guessing with a
    small model.
    `endpoints` lead to other machines, which hold these `proportions` of the last layers.
    """

    model: Path
    socket: Path
    tokens: int
    slots: int
    threads: int = 0
    embeds: bool = False
    projector: Path | None = None
    adapters: tuple[Path, ...] = field(default=())
    draft: Path | None = None
    lookup: bool = False
    endpoints: tuple[str, ...] = ()
    proportions: tuple[int, ...] = ()
    placement: Placement = field(default_factory=Placement)

    def arguments(self, known: frozenset[str] | None = None) -> list[str]:
        """Return llama-server's arguments; what only helps is left out if it is not `known`."""

        def if_known(*arguments: str) -> list[str]:
            return list(arguments) if known is None or arguments[0] in known else []

        arguments = ["--model", str(self.model), "--host", str(self.socket), "--jinja"]
        arguments += ["--ctx-size", str(self.tokens), "--parallel", str(self.slots)]
        if self.slots > 1:
            arguments += if_known("--kv-unified")
        arguments += [*if_known("--no-ui"), *if_known("--no-warmup"), *if_known("--cache-ram", "0")]
        placed = self.placement.arguments()
        # Else it would change what fits by its own estimate.
        arguments += [*placed, *(if_known("--fit", "off") if placed else [])]
        if self.threads:
            arguments += ["--threads", str(self.threads)]
        if self.embeds:
            arguments += ["--embeddings", "--batch-size", str(self.tokens)]
            arguments += ["--ubatch-size", str(self.tokens)]
        if self.projector is not None:
            arguments += ["--mmproj", str(self.projector)]
        if self.endpoints:
            arguments += ["--rpc", ",".join(self.endpoints), *if_known("--fit", "off")]
            arguments += ["--tensor-split", ",".join(map(str, self.proportions))]
            arguments += ["--n-gpu-layers", str(sum(self.proportions))]
            if self.projector is not None:
                arguments += ["--no-mmproj-offload"]
        if self.adapters:  # loaded, and used only by tasks that name them
            arguments += ["--lora-scaled", ",".join(f"{path}:0" for path in self.adapters)]
        if self.draft is not None and if_known("--spec-draft-model"):
            arguments += ["--spec-type", "draft-simple", "--spec-draft-model", str(self.draft)]
        elif self.lookup:
            arguments += if_known("--spec-type", "ngram-simple")
        return arguments


async def _options_of(program: str) -> frozenset[str]:
    """Return the long options that `program` knows; they differ between builds of llama.cpp.

    Raises:
        TaskError: UNSUPPORTED if it does not tell them.
    """
    try:
        said = await said_by(program, "--help", most=MAX_HELP, patience=HELP_PATIENCE)
    except TimeoutError:
        raise TaskError(
            pb.UNSUPPORTED,
            f"`{program} --help` took more than {HELP_PATIENCE:g} s",
            "install llama.cpp again",
        ) from None
    return frozenset(re.findall(r"--[a-z][a-z0-9-]+", said))


def is_there() -> bool:
    """Return whether this machine has what runs GGUF files."""
    return shutil.which(PROGRAM) is not None or find_spec(WHEEL) is not None


async def command(options: Options) -> list[str]:
    """Return what starts a server: the program on PATH, or that in PyPI's wheel.

    Raises:
        TaskError: UNSUPPORTED if there is neither.
    """
    program = shutil.which(PROGRAM)
    if program is not None:
        known = await _options_of(program)
        if options.endpoints and "--rpc" not in known:
            raise _no_rpc()
        return [program, *options.arguments(known)]
    if options.endpoints:
        raise _no_rpc()
    if find_spec(WHEEL) is not None:
        return [sys.executable, "-m", LAUNCHER, *options.arguments()]
    raise TaskError(
        pb.UNSUPPORTED,
        f"there is no {PROGRAM} on this worker, which runs GGUF files",
        f"install llama.cpp, or `pip install {WHEEL}`",
    )


def _no_rpc() -> TaskError:
    return TaskError(
        pb.UNSUPPORTED,
        f"this worker has no {PROGRAM} with RPC, which models of several machines take",
        "install llama.cpp with RPC",
    )
