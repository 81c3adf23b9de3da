"""What a model's files hold, told without loading them.

A .safetensors file begins with 8 bytes little-endian length, then that much
JSON that maps each tensor's name to its dtype, shape and place
(huggingface.co/docs/safetensors). Other formats of weights are pickled.
"""

import json
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

SUFFIX = ".safetensors"
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
MAX_HEADER = 100_000_000
"""The bound that the safetensors library sets too."""
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)\.safetensors")


def tensor_names(path: Path) -> list[str]:
    """Return the names of the tensors in the .safetensors file `path`.

    Raises:
        TaskError: BAD_REQUEST if it is damaged or of another format.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = file.read(length) if 2 <= length <= MAX_HEADER else b""
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        return list(tensors)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} is not a whole {SUFFIX} file",
            "copy or download it again",
        ) from None


def weight_files(path: Path) -> list[Path]:
    """Return the .safetensors files of a model: itself, or those in and below a folder."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())


def pickled_files(path: Path) -> list[Path]:
    """Return the weights that are of formats that can run code: `path` itself, or those below."""
    files = [path] if path.is_file() else path.rglob("*")
    found = (file for file in files if file.suffix in PICKLED and file.is_file())
    return sorted(file for file in found if not file.name.startswith("training_args"))


def all_there(path: Path) -> bool:
    """Return whether no weights are missing from the model in the folder `path`.

    Looks for the other shards of every shard, and for weights in every
    component of a pipeline; downloads fetch everything else first.
    """
    files = weight_files(path)
    names = {str(file.relative_to(path)) for file in files}
    for name in names:
        shard = _SHARD.fullmatch(name)
        if shard:
            start, digits, of = shard.group(1, 2, 3)
            numbers = range(1, int(of) + 1)
            if any(f"{start}-{n:0{len(digits)}}-of-{of}{SUFFIX}" not in names for n in numbers):
                return False
    if (path / "model_index.json").is_file():
        folders = {file.parent for file in files}
        return all(config.parent in folders for config in path.glob("*/config.json"))
    return bool(files)


def unsafe_weights(name: str, pickled: Iterable[str]) -> TaskError:
    """Return the refusal of a model that has only `pickled` weights."""
    return TaskError(
        pb.UNSAFE_WEIGHTS,
        f"{name} has its weights only in pickled files ({', '.join(sorted(pickled)[:3])}), "
        "which can run code when they are loaded",
        "use a copy with .safetensors weights; huggingface.co/spaces/safetensors/convert makes one",
    )
