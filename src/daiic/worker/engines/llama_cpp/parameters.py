"""How an answer is made: the fields of a request that every text task has."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.sampling import sampling_fields
from daiic.worker.engines.text.checks import COLDEST, bad, check_chances, check_stop

SEEDS = 1 << 32
"""llama.cpp's seeds have 32 bits, and the largest means "any"."""


def parameter_fields(
    task: pb.TextTask, defaults: Mapping[str, Any], made: int = 0
) -> dict[str, Any]:
    """Return temperature and the like as `task` asks, or as the model's `defaults` are.

    `made` tokens of the answer there are already. What follows them is drawn by a seed of its own:
    llama-server cannot begin in the middle of a sequence of random numbers, and with its beginning
    the answer might say again what it has said.

    Raises:
        TaskError: BAD_REQUEST for a value that cannot be used.
    """
    fields: dict[str, Any] = {"min_p": 0.0}
    for name in ("temperature", "top_p", "top_k"):
        if task.HasField(name):
            fields[name] = getattr(task, name)
        elif name in defaults:
            fields[name] = defaults[name]
    temperature, top_p = fields.get("temperature", 0.0), fields.get("top_p", 1.0)
    check_chances(temperature, top_p)
    check_stop(task.stop)
    if temperature < COLDEST:
        fields["temperature"] = 0.0
    if task.HasField("seed"):
        fields["seed"] = _seed(task.seed, made)
    return fields | sampling_fields(task.sampling)


def _seed(seed: int, made: int) -> int:
    if made:
        mixed = hashlib.sha256(f"{seed} {made}".encode()).digest()
        seed = int.from_bytes(mixed[:8], "big")
    return seed % (SEEDS - 1)


def adapter_fields(asked: Sequence[pb.Adapter], names: Sequence[str]) -> dict[str, Any]:
    """Return the field that applies the adapters `asked` for, of which the model has `names`.

    Raises:
        TaskError: MODEL_NOT_FOUND for one that is not there.
    """
    scales = []
    for adapter in asked:
        if adapter.name not in names:
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"the model has no adapter {adapter.name} on this worker",
                f"it has: {', '.join(names) or 'none'}",
            )
        scale = adapter.scale if adapter.HasField("scale") else 1.0
        if not math.isfinite(scale):
            raise bad(f"the adapter {adapter.name} has the scale {scale:g}", "send a number")
        scales.append({"id": names.index(adapter.name), "scale": scale})
    return {"lora": scales} if names else {}
