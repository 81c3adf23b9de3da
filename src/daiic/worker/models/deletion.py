"""Deletes a model that was downloaded."""

import shutil
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.checkpoint_files import SUFFIX
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.files import parts_of
from daiic.worker.models.hub_cache import PREFIX
from daiic.worker.models.model import Model


def delete(model: Model) -> int:
    """Delete the weights of `model`, and its repository's folder if no others are left in it.

    What its files link to goes too, if it lies in that folder. Returns the bytes that are free now.

    Raises:
        TaskError: BAD_REQUEST if its folder is only linked to, INTERNAL if a file cannot be
            deleted.
    """
    folder = model.within
    assert folder is not None and folder.name.startswith(PREFIX), "it was not downloaded"
    try:
        inside = folder.resolve(strict=True)
        snapshot = model.path.parent if is_gguf(model.path.name) else model.path
        if folder.is_symlink() or not snapshot.resolve(strict=True).is_relative_to(inside):
            raise TaskError(
                pb.BAD_REQUEST,
                f"{model.name} is elsewhere, and the download cache has a link to its folder only",
                "delete it where it is, or delete the link",
            )
        freed = sum(_remove(file, inside) for file in _weights(model))
        if not any(_are_weights(file) for file in folder.glob("snapshots/**/*")):
            freed += sum(file.stat().st_size for file in folder.rglob("*") if _is_own(file))
            shutil.rmtree(folder)
    except OSError as error:
        raise TaskError(
            pb.INTERNAL,
            f"{model.name} cannot be deleted: {error.strerror}",
            "let the worker write into its download cache",
        ) from None
    return freed


def _weights(model: Model) -> list[Path]:
    if is_gguf(model.path.name):
        return parts_of(model.path)
    return [file for file in model.path.rglob("*") if file.suffix == SUFFIX]


def _remove(file: Path, inside: Path) -> int:
    target = file.resolve()
    size = target.stat().st_size if target.exists() else 0
    file.unlink(missing_ok=True)
    if not target.is_relative_to(inside):
        return 0
    target.unlink(missing_ok=True)
    return size


def _are_weights(file: Path) -> bool:
    return is_gguf(file.name) or file.suffix == SUFFIX


def _is_own(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()
