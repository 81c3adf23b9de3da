"""Adapters (LoRA) beside a model: small weights that change it, in a folder called NAME.adapters.

Those of a GGUF file are GGUF files, those of a language model in safetensors
folders as PEFT writes them, and those of an image model .safetensors files.
"""

import re
from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.checkpoint_files import SUFFIX, is_file
from daiic.worker.models.entries import entries
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.files import ADAPTERS, adapters_of
from daiic.worker.models.model import Model

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_ADAPTERS = LIMITS.adapters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What may stand after a colon, as a model's tag."""


def is_adapters(path: Path) -> bool:
    """Return whether `path` is a folder of adapters and of no models."""
    return path.name.endswith(ADAPTERS)


def folder_beside(path: Path) -> Path:
    """Return the folder with the adapters of the model in safetensors at `path`."""
    stem = path.name if path.is_dir() else path.name.removesuffix(SUFFIX)
    return path.with_name(f"{stem}{ADAPTERS}")


def adapters_beside(path: Path, kind: pb.ModelKind) -> dict[str, Path]:
    """Return the adapters of the model of `kind` at `path`, files or folders, by name."""
    if is_gguf(path.name) and not path.is_dir():
        return {file.stem: file for file in adapters_of(path)}
    found = {}
    for entry in entries(folder_beside(path), {}):
        if kind == pb.IMAGE and entry.suffix == SUFFIX and is_file(entry):
            name = entry.stem
        elif kind == pb.TEXT and is_file(entry / CONFIG) and is_file(entry / WEIGHTS):
            name = entry.name
        else:
            continue
        if _NAME.fullmatch(name):
            found[name] = entry
        if len(found) == MAX_ADAPTERS:
            break
    return found


def scale_of(adapter: pb.Adapter) -> float:
    """Return how strongly a task wants `adapter` to change its model; 1 if it does not say."""
    return adapter.scale if adapter.HasField("scale") else 1.0


def files_of(adapter: Path) -> list[Path]:
    """Return the files of which `adapter` consists."""
    return [adapter / CONFIG, adapter / WEIGHTS] if adapter.is_dir() else [adapter]


def bytes_of_adapters(model: Model) -> int:
    """Return the bytes of the files of the adapters of `model`."""
    adapters = adapters_of_model(model).values()
    return sum(file.stat().st_size for adapter in adapters for file in files_of(adapter))


def adapters_of_model(model: Model) -> dict[str, Path]:
    """Return the adapters that `model` had when it was looked at and still has."""
    there = adapters_beside(model.path, model.kind)
    return {name: there[name] for name in model.adapters if name in there}
