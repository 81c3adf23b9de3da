"""Which quantisation of a model is used where nobody names one.

It is the largest of no more than eight bits a weight that fits with its
context; sixteen bits would take twice the memory and time, and change answers
little. It has to fit into the memory of the GPU, where there is one, or else
into that and RAM together. Where nothing fits the smallest is taken, which a
group of workers may hold.
"""

from collections.abc import Mapping
from pathlib import Path

from daiic.errors import TaskError
from daiic.model_names import quantization_in
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.gguf.description import Gguf, describe

CONTEXT = 8192
"""Tokens that a model should have room for, if it takes so many."""
WORK = 256 << 20
"""Bytes that running a model takes on each device, beside weights and context."""
UNQUANTIZED = frozenset({"F16", "FP16", "BF16", "F32", "FP32"})


def with_context(model: Gguf) -> int:
    """Return the least bytes it runs with: weights, a context of CONTEXT tokens, and WORK."""
    tokens = min(CONTEXT, model.context_length or CONTEXT)
    return model.weight_bytes + model.kv_bytes_per_token() * tokens + WORK


def at_lead(model: Gguf) -> int:
    """Return those bytes of `with_context` that lie where the model is led from.

    Layers and their context may lie on other machines, the rest not.
    """
    return model.other_bytes + WORK


def with_usual_context(size: int) -> int:
    """Return what `with_context` is likely to be for files of `size` bytes that are not here."""
    return size + size // 8 + WORK


def usually_at_lead(size: int) -> int:
    """Return what `at_lead` is likely to be for files of `size` bytes that are not here."""
    return size // 8 + WORK


def needs_of(paths: Mapping[str, Path]) -> dict[str, int]:
    """Return the bytes that each of the models in `paths` needs, but for damaged ones.

    Raises:
        OSError: if one cannot be read.
    """
    needs = {}
    for label, path in paths.items():
        try:
            model = describe(path)
        except TaskError:
            continue
        if model.kind == "model":
            needs[label] = with_context(model)
    return needs


def choose_quantization(needs: Mapping[str, int], room: MemoryBudget) -> tuple[str, str]:
    """Return which of `needs`, bytes by quantisation, is best within `room`, and why."""
    quantized = {n: size for n, size in needs.items() if not _is_unquantized(n)} or needs
    everything = room.vram_bytes + room.ram_bytes
    of = f"of {len(needs)} quantisations" if len(needs) > 1 else "the only one"
    for space, where in ((room.vram_bytes, "GPU memory"), (everything, "memory")):
        fitting = [label for label, size in quantized.items() if size <= space]
        if fitting and len(needs) > 1:
            best = max(fitting, key=lambda label: (quantized[label], label))
            return best, f"{best}: the largest {of} that fits into {_amount(space)} of {where}"
        if fitting:
            return fitting[0], f"{fitting[0]}: {of}"
    best = min(quantized, key=lambda label: (quantized[label], label))
    what = f"the smallest {of}" if len(needs) > 1 else of
    return best, f"{best}: {what}; none fits into {_amount(everything)} of memory"


def _is_unquantized(label: str) -> bool:
    return (quantization_in(label) or label).upper().rpartition("-")[2] in UNQUANTIZED


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
