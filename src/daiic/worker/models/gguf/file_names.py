"""What the names of GGUF files tell: parts of a split model, the quantisation, a projector."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from daiic.model_names import GGUF, quantization_in, without_quantization

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_BLOB = re.compile(r"sha256-[0-9a-f]{64}")
"""What Ollama calls such files."""
_PROJECTOR = "mmproj"
_DRAFT = "draft"


def is_gguf(name: str) -> bool:
    """Return whether a file with this name should be a GGUF."""
    return name.endswith(GGUF) or _BLOB.fullmatch(name) is not None


def part_of(name: str) -> tuple[str, int, int] | None:
    """Return the model's name without suffixes, the number of the part `name`, and of how many."""
    found = _PART.fullmatch(name)
    return (found[1], int(found[2]), int(found[3])) if found else None


def whole_name(name: str) -> str:
    """Return the name of the file that the parts of the split model `name` would make together."""
    part = part_of(name)
    return f"{part[0]}{GGUF}" if part else name


def parts(name: str) -> list[str]:
    """Return the names of all parts of the model of which `name` is one, or `name` alone."""
    part = part_of(name)
    if part is None:
        return [name]
    stem, _, count = part
    return [f"{stem}-{number:05d}-of-{count:05d}{GGUF}" for number in range(1, count + 1)]


def tag(name: str) -> str:
    """Return the quantisation in the file's name, as it is written there ("Q4_K_M"), or ""."""
    return quantization_in(whole_name(name))


def base(name: str) -> str:
    """Return the file's name without quantisation, number of part and suffix, for comparisons."""
    return without_quantization(whole_name(name))


def is_projector(name: str) -> bool:
    """Return whether the file's name says that it is what lets another model see images."""
    return _PROJECTOR in PurePosixPath(name).name.lower()


def is_draft(name: str) -> bool:
    """Return whether the file's name says that it guesses ahead for another model."""
    return base(name) == _DRAFT or base(name).endswith(f".{_DRAFT}")


def is_companion(name: str) -> bool:
    """Return whether the file's name says that it is no model of its own."""
    is_imatrix = PurePosixPath(name).name.lower().startswith("imatrix")
    return is_imatrix or is_projector(name) or is_draft(name)


def draft_for(name: str, others: Iterable[str]) -> str | None:
    """Return which of `others`, names in the same folder, guesses ahead for the model `name`.

    It is called NAME.draft.gguf, or draft.gguf in a folder of one model.
    """
    wanted = (f"{base(name)}.{_DRAFT}", _DRAFT)
    fitting = [other for other in others if base(other) in wanted]
    return min(fitting, key=lambda other: (wanted.index(base(other)), other), default=None)


def projector_for(name: str, others: Iterable[str]) -> str | None:
    """Return which of `others`, names in the same folder, is the projector of the model `name`.

    It is the one that is named after the model, or without a name of its own;
    in half precision if there are several.
    """
    fitting = []
    for other in others:
        if is_projector(other):
            rest = base(other).replace(_PROJECTOR, "").strip("-._")
            if rest in ("", "model", base(name)):
                fitting.append(other)
    order = ("F16", "FP16", "BF16")
    return min(
        fitting,
        key=lambda other: (
            order.index(tag(other).upper()) if tag(other).upper() in order else len(order),
            other,
        ),
        default=None,
    )
