"""llama-server's command line: with which files, for how many tasks, on what."""

from dataclasses import dataclass, field
from pathlib import Path

from daiic.worker.engines.llama_cpp.placement import Placement

HERE = "^(output|token_embd)=CPU"
"""What does not go to the last of other machines, which would send a number for each token of the
vocabulary, a megabyte for some models, for every token made."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is started with.

    `slots` tasks run at once, and share a cache of so many `tokens`; one that `embeds`, and may
    also be one that `ranks`, reads whole texts of so many. Each slot keeps so many `checkpoints`.
    `lookup` turns on guessing from the text itself, `draft` guessing with a small model.
    `endpoints` lead to other machines, which hold these `proportions` of the last layers.
    """

    model: Path
    socket: Path
    tokens: int
    slots: int
    checkpoints: int = 0
    threads: int = 0
    embeds: bool = False
    ranks: bool = False
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
        arguments += if_known("--ctx-checkpoints", str(self.checkpoints))
        placed = self.placement.arguments()
        # Else it would change what fits by its own estimate.
        arguments += [*placed, *(if_known("--fit", "off") if placed else [])]
        if self.threads:
            arguments += ["--threads", str(self.threads)]
        if self.embeds:
            arguments += ["--embeddings", "--batch-size", str(self.tokens)]
            arguments += ["--ubatch-size", str(self.tokens)]
        if self.ranks:
            arguments += ["--reranking"]
        if self.projector is not None:
            arguments += ["--mmproj", str(self.projector)]
        if self.endpoints:
            arguments += ["--rpc", ",".join(self.endpoints), *if_known("--fit", "off")]
            arguments += ["--tensor-split", ",".join(map(str, self.proportions))]
            arguments += ["--n-gpu-layers", str(sum(self.proportions))]
            if len(self.proportions) == len(self.endpoints):  # there is no GPU here
                arguments += ["--override-tensor", HERE]
            if self.projector is not None:
                arguments += ["--no-mmproj-offload"]
        if self.adapters:  # loaded, and used only by tasks that name them
            arguments += ["--lora-scaled", ",".join(f"{path}:0" for path in self.adapters)]
        if self.draft is not None and if_known("--spec-draft-model"):
            arguments += ["--spec-type", "draft-simple", "--spec-draft-model", str(self.draft)]
        elif self.lookup:
            arguments += if_known("--spec-type", "ngram-simple")
        return arguments
