"""What the configurations of a pipeline's parts ask for, looked at before diffusers reads them.

Schedulers and position embeddings make tables as long as their configurations say, which no
weights have to fill; see `daiic.worker.engines.torch.configuration_bounds` for what they have to.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import bad_file, read_object, shown

MAX_SCHEDULER = LIMITS.scheduler
"""Published ones have 1000 steps to train with, and images of 8192 tokens."""
MAX_LATENT = LIMITS.latent
"""Published denoisers have up to 384."""
DECODERS = ("Autoencoder", "VQ")
"""In the names of parts whose sizes are pixels, for which no table is made."""
SIDES = ("sample_size", "pos_embed_max_size")


def check_configurations(name: str, folder: Path, parts: Mapping[str, object]) -> None:
    """Look at `parts`, each with its class, of the pipeline in `folder`, called `name` by people.

    Raises:
        TaskError: BAD_REQUEST, naming the file, the key and what would be right.
    """
    for part, kind in parts.items():
        shown_part = f"{name}/{part}"
        file = folder / part / "scheduler_config.json"
        for key, value in (read_object(file, name=shown_part) or {}).items():
            _check(file, shown_part, key, value, MAX_SCHEDULER)
        if not any(word in str(kind) for word in DECODERS):
            file = folder / part / "config.json"
            config = read_object(file, name=shown_part) or {}
            for key in SIDES:
                _check(file, shown_part, key, config.get(key), MAX_LATENT)


def _check(file: Path, name: str, key: str, value: Any, most: int) -> None:
    for number in _numbers(value):
        if number > most:
            reason = f"asks for {shown(key)} = {shown(number)}, and may for {most}"
            raise bad_file(file, reason, name)


def _numbers(value: Any) -> Iterator[float]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int) or (isinstance(item, float) and isfinite(item)):
            yield item
