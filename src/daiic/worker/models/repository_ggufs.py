"""Which GGUF files of a Hugging Face repository a model needs, and in which quantisation."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from daiic.errors import TaskError
from daiic.model_names import GGUF, Names
from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.gguf.choice import choose_quantization, with_usual_context
from daiic.worker.models.gguf.file_names import parts, projector_for
from daiic.worker.models.gguf.shelf import quantizations
from daiic.worker.models.model_json import shown
from daiic.worker.models.repository_files import ModelFiles

SHOWN = 20
"""Quantisations that an error names at most."""


def has_ggufs(files: Iterable[str]) -> bool:
    """Return whether there is a model among `files` that could be chosen here."""
    return bool(quantizations(_usable(files)))


def choose_ggufs(
    repository: str, sizes: Mapping[str, int], tag: str, room: MemoryBudget
) -> tuple[str, ModelFiles]:
    """Return the name and the files of a model of `repository`, which has files of these `sizes`.

    Without a `tag` it is the quantisation that suits `room`.

    Raises:
        TaskError: MODEL_NOT_FOUND if there is none called `tag`, BAD_REQUEST if
            files are missing.
    """
    files = _usable(sizes)
    found = {f"{repository}:{label}": file for label, file in quantizations(files).items()}
    if tag:
        name = Names(found).meant(f"{repository}:{tag}")
    else:
        needs = {
            name: with_usual_context(sum(sizes.get(part, 0) for part in parts(file)))
            for name, file in found.items()
        }
        name = choose_quantization(needs, room)[0] if needs else ""
    if name not in found:
        labels = [shown(name.partition(":")[2]) for name in found]
        there = ", ".join(labels[:SHOWN]) + (" …" if len(labels) > SHOWN else "")
        raise TaskError(
            pb.MODEL_NOT_FOUND,
            f"{repository} has no GGUF files" + (f" of {tag}" if tag and there else ""),
            f"it has {there}" if there else f"leave out the tag, or try {repository}-GGUF",
        )
    weights = parts(found[name])
    missing = [part for part in weights if part not in files]
    if missing:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} on Hugging Face is not whole: {shown(missing[0])} is missing",
            "choose another quantisation, or another repository",
        )
    folder = PurePosixPath(weights[0]).parent
    beside = [file for file in files if PurePosixPath(file).parent == folder]
    projector = projector_for(weights[0], beside)
    # Weights come last: where they are here, everything is.
    return name, ModelFiles([projector] if projector else [], weights)


def _usable(files: Iterable[str]) -> set[str]:
    """Return the GGUF files of `files`, whose names are as the repository's owner wishes."""
    found = set()
    for file in files:
        path = PurePosixPath(file)
        hidden = any(part.startswith((".", "/")) for part in path.parts)
        if file.endswith(GGUF) and file.isprintable() and len(path.parts) <= 2 and not hidden:
            found.add(file)
    return found
