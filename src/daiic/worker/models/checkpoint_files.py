"""What a model's files hold, told without loading them.

A .safetensors file begins with 8 bytes little-endian length, then that much
JSON that maps each tensor's name to its dtype, shape and place
(huggingface.co/docs/safetensors). Other formats of weights are pickled.
"""

import os
import re
import struct
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

import msgspec

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import shown

SUFFIX = ".safetensors"
CONFIGURATION_SUFFIX = ".config"
"""Of the folder beside a single file of an image model, which has no configuration in it."""
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
MAX_HEADER = LIMITS.tensors_header
"""Bytes, some 100,000 tensors. The safetensors library's own bound, 100 MB, takes GBs to parse."""
_SHARD = re.compile(r"(.*)-(\d{1,6})-of-(\d{1,6})\.safetensors")


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def tensor_names(path: Path) -> list[str]:
    """Return the names of the tensors in the .safetensors file `path`.

    Raises:
        TaskError: BAD_REQUEST if it is damaged or of another format.
        OSError: if it cannot be read.
    """
    length = check_header(path)
    with path.open("rb") as file:
        file.seek(8)
        header = file.read(length)
    try:
        tensors = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        tensors.pop("__metadata__", None)
        for tensor in tensors.values():
            msgspec.json.decode(tensor, type=_Tensor)
    except (msgspec.DecodeError, RecursionError):
        raise _damaged(path) from None
    return list(tensors)


def check_header(path: Path) -> int:
    """Return the length of the header of the .safetensors file `path`, which it has room for.

    Raises:
        TaskError: BAD_REQUEST if it cannot be one.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = os.fstat(file.fileno()).st_size
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= size - 8:
        raise _damaged(path)
    if length > MAX_HEADER:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{shown(path.name)} has a header of {length >> 20} MiB; at most "
            f"{MAX_HEADER >> 20} MiB are read",
            "choose a model with fewer tensors",
        )
    return length


def all_there(names: Collection[str]) -> bool:
    """Return whether no weights are missing from a model that has the files `names`.

    Looks for the other shards of every shard, and for weights in every
    component of a pipeline; downloads fetch everything else first.
    """
    weights = {name for name in names if name.endswith(SUFFIX)}
    for name in weights:
        shard = _SHARD.fullmatch(name)
        if shard:
            start, digits, of = shard.group(1, 2, 3)
            if int(of) > len(weights):
                return False
            numbers = range(1, int(of) + 1)
            if any(f"{start}-{n:0{len(digits)}}-of-{of}{SUFFIX}" not in weights for n in numbers):
                return False
    if "model_index.json" in names:
        folders = {PurePosixPath(name).parent for name in weights}
        parts = (PurePosixPath(name) for name in names if name.endswith("/config.json"))
        return all(config.parent in folders for config in parts)
    return bool(weights)


def is_model(path: Path) -> bool:
    """Return whether `path` is a .safetensors file, or a folder with a model's config."""
    if is_file(path):
        return path.suffix == SUFFIX
    return any(is_file(path / name) for name in ("config.json", "model_index.json"))


def is_file(path: Path) -> bool:
    """Return whether there is a file `path` that the worker may look at."""
    try:
        return path.is_file()
    except OSError:
        return False


def unsafe_weights(name: str, pickled: Iterable[str]) -> TaskError:
    """Return the refusal of a model that has only `pickled` weights."""
    return TaskError(
        pb.UNSAFE_WEIGHTS,
        f"{shown(name)} has its weights only in pickled files "
        f"({', '.join(map(shown, sorted(pickled)[:3]))}), which can run code when they are loaded",
        "use a copy with .safetensors weights; huggingface.co/spaces/safetensors/convert makes one",
    )


def _damaged(path: Path) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST,
        f"{shown(path.name)} is not a whole {SUFFIX} file",
        "copy or download it again",
    )
