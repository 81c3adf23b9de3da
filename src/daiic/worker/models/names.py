"""Which names of models a worker accepts, and what forms they have."""

import re
from collections.abc import Iterable

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from daiic.errors import TaskError
from daiic.model_names import GGUF, LATEST, without_quantization
from daiic.wire import daiic_pb2 as pb

GGUF_REPOSITORY = "-GGUF"
"""What owners add to a repository's name for another with the same model in GGUF files."""
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(name: str) -> bool:
    """Return whether `check_name` accepts `name`."""
    try:
        check_name(name)
    except TaskError:
        return False
    return True


def check_name(name: str) -> None:
    """Accept names that cannot lead out of a folder, with one tag after a colon at most.

    Raises:
        TaskError: BAD_REQUEST for any other name.
    """
    parts = name.split("/")
    path, colon, tag = name.partition(":")
    if not name:
        problem = "the task names no model"
    elif len(parts) > 2 or not name.isprintable() or "\\" in name:
        problem = f"{name!r} is not a model's name"
    elif any(not part or part.startswith(".") for part in parts):
        problem = f"{name!r} is a path, not a model's name"
    elif colon and not (path and not path.endswith("/") and _TAG.fullmatch(tag)):
        problem = f"{name!r} is not a model's name: after a colon comes one word, as in x:Q4_K_M"
    else:
        return
    raise TaskError(
        pb.BAD_REQUEST,
        problem,
        'name a file or folder in the models folder, or a Hugging Face id, "owner/name"',
    )


def names_repository(name: str) -> bool:
    """Return whether `name` has the form of a Hugging Face id, "owner/name"."""
    if "/" not in name or name.endswith(GGUF):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def gguf_among(names: Iterable[str], name: str) -> str:
    """Return which of `names`, of models in GGUF, is the same model as `name`, "" if none is."""
    wanted = _without_format(name)
    return next((one for one in sorted(names) if _without_format(one) == wanted), "")


def _without_format(name: str) -> str:
    return without_quantization(name.partition(":")[0]).removesuffix(GGUF_REPOSITORY.lower())


def repository_and_tag(name: str) -> tuple[str, str] | None:
    """Return the Hugging Face id in `name` and the tag after its colon, "" without one.

    "latest" counts as none, as it does for Ollama. It is `None` if `name` is
    not of the form "owner/name" or "owner/name:Q4_K_M".
    """
    repository, colon, tag = name.partition(":")
    if not names_repository(repository) or bool(colon) != bool(_TAG.fullmatch(tag)):
        return None
    return repository, tag if tag != LATEST else ""
