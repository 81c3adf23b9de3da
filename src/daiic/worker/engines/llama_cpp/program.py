"""llama-server's command line: which program, with which files, for how many tasks."""

import shutil
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

PROGRAM = "llama-server"
WHEEL = "xllamacpp"
LAUNCHER = "daiic.worker.engines.llama_cpp.wheel"


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is started with.

    A task may have `context` tokens, and `slots` of them run at once. `lookup` turns on guessing
    from the text itself, `draft` guessing with a small model.
    """

    model: Path
    socket: Path
    context: int
    slots: int
    threads: int = 0
    embeds: bool = False
    projector: Path | None = None
    adapters: tuple[Path, ...] = field(default=())
    draft: Path | None = None
    lookup: bool = False

    def arguments(self) -> list[str]:
        """Return llama-server's arguments."""
        arguments = ["--model", str(self.model), "--host", str(self.socket), "--no-ui"]
        arguments += ["--ctx-size", str(self.context * self.slots), "--parallel", str(self.slots)]
        arguments += ["--jinja", "--no-warmup", "--cache-ram", "0"]
        if self.threads:
            arguments += ["--threads", str(self.threads)]
        if self.embeds:
            arguments += ["--embeddings", "--ubatch-size", str(self.context)]
        if self.projector is not None:
            arguments += ["--mmproj", str(self.projector)]
        if self.adapters:  # loaded, and used only by tasks that name them
            arguments += ["--lora-scaled", ",".join(f"{path}:0" for path in self.adapters)]
        if self.draft is not None:
            arguments += ["--spec-type", "draft-simple", "--spec-draft-model", str(self.draft)]
        elif self.lookup:
            arguments += ["--spec-type", "ngram-simple"]
        return arguments


def command(options: Options) -> list[str]:
    """Return what starts a server: the program on PATH, or that in PyPI's wheel.

    Raises:
        TaskError: UNSUPPORTED if there is neither.
    """
    program = shutil.which(PROGRAM)
    if program is not None:
        return [program, *options.arguments()]
    if find_spec(WHEEL) is not None:
        return [sys.executable, "-m", LAUNCHER, *options.arguments()]
    raise TaskError(
        pb.UNSUPPORTED,
        f"there is no {PROGRAM} on this worker, which runs GGUF files",
        f"install llama.cpp, or `pip install {WHEEL}`",
    )
