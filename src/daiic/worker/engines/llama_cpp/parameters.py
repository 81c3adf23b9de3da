"""How an answer is made: the fields of a request that every text task has."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.asked_adapters import scales_of
from daiic.worker.engines.llama_cpp.sampling import sampling_fields
from daiic.worker.engines.text.checks import COLDEST, check_chances, check_stop

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
        TaskError: as `scales_of`.
    """
    scales = scales_of(asked, names, {}).items()
    lora = [{"id": names.index(name), "scale": scale} for name, scale in scales]
    return {"lora": lora} if names else {}
