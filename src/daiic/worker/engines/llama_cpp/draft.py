"""The model that guesses ahead for another: one that a setting names, or that beside it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.probe import kind_of
from daiic.worker.models.gguf.description import Gguf, describe
from daiic.worker.models.gguf.files import draft_of
from daiic.worker.models.model_json import shown

UNFIT = "failed to initialize speculative decoding context"
"""llama-server says so, and goes on without the draft."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What guesses, and the `file` it is in."""

    file: Path
    model: Gguf


def draft_for(path: Path, model: Gguf, named: Path | None) -> Draft | None:
    """Return what guesses for `model` in `path`: the file `named`, else that beside it, if any.

    Raises:
        TaskError: BAD_REQUEST if it cannot be read.
    """
    file = None if kind_of(model) != pb.TEXT else named or draft_of(path)
    if file is None:
        return None
    try:
        return Draft(file, describe(file))
    except OSError as error:
        raise TaskError(
            pb.BAD_REQUEST,
            f"the draft model {shown(file.name)} cannot be read: {error.strerror}",
            "correct the worker's setting draft_models",
        ) from None


def check_draft(draft: Path, said: Iterable[str]) -> None:
    """Check that llama-server uses `draft`, by what it has `said` while it loaded the model.

    Raises:
        TaskError: BAD_REQUEST if it does not.
    """
    for line in said:
        _, found, why = line.partition(UNFIT)
        if found:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{shown(draft.name)} cannot guess ahead for the model: {shown(why.strip(': '))}",
                "take a draft model with the same tokenizer, or none",
            )
