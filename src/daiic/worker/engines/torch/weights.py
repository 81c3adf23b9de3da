"""Loading a transformers model from safetensors, quantised if that can be done."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
import transformers
from torch.distributed.tensor import DTensor
from transformers.distributed import DistributedConfig

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.engines.torch import quantization as quantizing
from daiic.worker.engines.torch.configuration_bounds import kept_within
from daiic.worker.engines.torch.errors import is_out_of_memory
from daiic.worker.engines.torch.weights_plan import Sizes, automatic, measure, plan, too_big
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model_json import read_object, shown

PACKED_ROWS, PACKED_COLUMNS = 32, 64
"""Of which a matrix must have multiples for bitsandbytes' layout for AVX-512."""

PACKED = 8
"""Weights that a number of a quantised checkpoint may hold: 32 bits of 4 each."""

log = structlog.get_logger()

# The hook through which transformers tells of its progress, and the default
# dtype that it sets while it loads, belong to the whole process.
_loading = threading.Lock()


@dataclass(slots=True)
class Weights:
    """A loaded model; the other fields are those of `daiic.worker.engines.interface.Engine`."""

    model: Any
    footprint: int
    quantization: str
    placement: str
    fallback: str

    @property
    def precision(self) -> str:
        """What it computes in: "float32", "bfloat16" or "float16"."""
        return str(self.model.dtype).removeprefix("torch.")


def load(
    model_class: Any,
    path: Path,
    *,
    backend: Backend,
    quantization: str,
    precision: str,
    budget: MemoryBudget,
    ram_offload: bool,
    progress: Callable[[float], None],
) -> Weights:
    """Load the model in the directory `path` with the transformers class `model_class`; blocks.

    A model that bitsandbytes cannot quantise is loaded without; `fallback`
    then says why.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, BAD_REQUEST if it is another kind of model.
    """
    transformers.logging.disable_default_handler()
    transformers.logging.enable_propagation()
    sizes = measure(path)
    reason = ""
    if quantization == "auto":
        room = budget.vram_bytes if backend.is_gpu else budget.ram_bytes
        quantization = "none" if _is_quantized(path) else automatic(sizes, backend, room, precision)
    if quantization != "none" and _is_quantized(path):
        quantization, reason = "none", "the checkpoint is quantised already"

    def load_as(quantization: str) -> Weights:
        planned = plan(path, sizes, backend, quantization, budget, ram_offload, precision)
        return _load(model_class, path, sizes, quantization, *planned)

    with _loading, _progress_told_to(progress):
        if quantization != "none":
            try:
                return load_as(quantization)
            except TaskError:
                raise
            except Exception as error:
                reason = f"bitsandbytes cannot quantise it: {error}".split("\n")[0]
                log.warning("not quantised", model=path.name, asked=quantization, reason=reason)
        weights = load_as("none")
    weights.fallback = reason
    return weights


def load_slice(
    model_class: Any,
    path: Path,
    *,
    dtype: torch.dtype,
    ranks: int,
    progress: Callable[[float], None],
) -> Weights:
    """Load this rank's slice of every layer, once all `ranks` of torch.distributed have met.

    It blocks.

    Raises:
        TaskError: as `load`.
    """
    transformers.logging.disable_default_handler()
    transformers.logging.enable_propagation()
    where = {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=ranks)}
    with _loading, _progress_told_to(progress):
        loaded = _load(model_class, path, measure(path), "none", dtype, where)
    loaded.footprint = 0
    with torch.no_grad():
        for tensor in loaded.model.parameters():
            own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            if own.device.type == "cpu":
                own.data = own.clone()  # else one slice keeps all of the file in memory
            loaded.footprint += own.nbytes
    loaded.placement = "ram" if loaded.model.device.type == "cpu" else "gpu"
    return loaded


def _load(
    model_class: Any,
    path: Path,
    sizes: Sizes,
    quantization: str,
    dtype: torch.dtype,
    where: dict[str, Any],
) -> Weights:
    # A weight that is shared, or quantised, is there twice while a model is put together.
    numbers = sizes.total * 2 * (1 if quantization == "none" else 2)
    try:
        with kept_within(numbers * (PACKED if _is_quantized(path) else 1), path.name):
            model, told = model_class.from_pretrained(
                path,
                dtype=dtype,
                quantization_config=quantizing.config(
                    quantization, dtype, offload="cpu" in where.get("max_memory", {})
                ),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # they are told, and refused below
                output_loading_info=True,
                **where,
            )
    except TaskError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise too_big(path, str(error).splitlines()[0]) from error
        if "max_memory" in where and "disk" in str(error):  # whole layers do not fit as they add up
            raise too_big(path, "its layers do not fit the cards, whole as they are") from error
        if quantization != "none" or not isinstance(error, OSError | ValueError):
            raise
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} cannot be loaded as {model_class.__name__}: {str(error).splitlines()[0]}",
            "choose a model whose config.json names an architecture that transformers has",
        ) from error
    _check_fit(path.name, told)
    model.eval()
    left_out = ""
    if quantization != "none":
        _leave_general(model)
        _try(model)
        if any(
            parameter.dim() == 3 and ".experts." in name
            for name, parameter in model.named_parameters()
        ):
            left_out = "its experts are not quantised: bitsandbytes takes single matrices only"
    return Weights(model, model.get_memory_footprint(), quantization, _placement(model), left_out)


def _check_fit(name: str, told: dict[str, Any]) -> None:
    """Refuse weights of other shapes than the configuration's; tell of those that are not there."""
    if misfits := sorted(told["mismatched_keys"]):
        weight, has, wanted = misfits[0]
        raise TaskError(
            pb.BAD_REQUEST,
            f"the weights of {name} do not fit its config.json: {shown(weight)} is "
            f"{tuple(has)}, not {tuple(wanted)}",
            "download the model again, or choose another one",
        )
    if missing := sorted(told["missing_keys"]):
        log.warning("weights are missing", model=name, count=len(missing), first=missing[0])


def _placement(model: Any) -> str:
    places = {str(place) for place in getattr(model, "hf_device_map", {"": "cpu"}).values()}
    in_ram = "cpu" in places
    if in_ram and len(places) > 1:
        return "gpu+ram"
    return "ram" if in_ram else "gpu"


def _leave_general(model: Any) -> None:
    """Let matrices that bitsandbytes cannot lay out for AVX-512 be multiplied as on other CPUs.

    It would fail on them. Mamba's projections are of the kind: they yield a number for each head
    beside whole blocks.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit" and (
            module.out_features % PACKED_ROWS or module.in_features % PACKED_COLUMNS
        ):
            module.support_avx512bf16_for_cpu = False


def _try(model: Any) -> None:
    """Run the model once: bitsandbytes finds out only then what it cannot multiply."""
    with torch.inference_mode():
        for rows in (1, 2):
            model(input_ids=torch.zeros(rows, 1, dtype=torch.long, device=model.device))


def _is_quantized(path: Path) -> bool:
    return "quantization_config" in (read_object(path / "config.json") or {})


@contextmanager
def _progress_told_to(progress: Callable[[float], None]) -> Iterator[None]:
    """Tell `progress` how much is loaded, in place of transformers' progress bars."""

    def bar(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        silent = factory(*args, **kwargs | {"disable": True})
        if kwargs.get("desc") != "Loading weights":
            return silent
        return _counted(silent, len(args[0]), progress)

    previous = transformers.logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers.logging.set_tqdm_hook(previous)


def _counted(items: Any, total: int, progress: Callable[[float], None]) -> Iterator[Any]:
    for done, item in enumerate(items):
        progress(done / total)
        yield item
    progress(1.0)
