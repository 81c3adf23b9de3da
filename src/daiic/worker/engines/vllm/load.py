"""Loading a language model with vLLM: how much memory it takes, and what it is started with."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.context import context_of
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.footprint import with_work
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.weights_plan import files_of
from daiic.worker.engines.transformers_text.chat_template import template_of
from daiic.worker.engines.vllm.engine import VllmEngine
from daiic.worker.engines.vllm.placement import cards_for, visible
from daiic.worker.engines.vllm.program import Options
from daiic.worker.engines.vllm.server import Server
from daiic.worker.engines.vllm.sizes import WORK, Shape, expected, fitted, shape_of
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.architectures import config_in
from daiic.worker.models.model import Model
from daiic.worker.models.model_json import shown


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`: weights as they are on the disk, and a cache for all slots."""
    shape = _shape(config_in(model.path, model.name), options)
    whole = _beside(_weights(model.path)) + expected(shape, options.slots)
    return whole // _machines(whole, options)


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> VllmEngine:
    """See `EngineModule`."""
    config = config_in(path, path.name)
    weights = _weights(path)
    shape = _shape(config, options)
    on = cards_for(options.backend, budget, shape.heads)
    count = len(on.cards) if on is not None else 0
    machines = 1
    if on is not None:
        machines = _machines(_beside(weights) + expected(shape, options.slots), options)
    weights //= machines
    room = (count * on.room if on is not None else budget.ram_bytes) - _beside(weights, count)
    layers = shape.part(machines)
    sizes = fitted(layers, options.slots, room, in_ram=on is None)
    if sizes is None:
        needed = _beside(weights, count) + expected(layers, 1)
        raise TaskError(
            pb.OUT_OF_MEMORY,
            f"the model needs {needed >> 20} MiB with vLLM, and "
            f"{room + _beside(weights, count) >> 20} MiB are free",
            'choose a smaller model or one that is quantised, or set engine = "auto"',
        )
    tokenizer = await asyncio.to_thread(load_tokenizer, path)
    defaults = await asyncio.to_thread(_generation_config, path)
    found = await asyncio.to_thread(visible, options.backend, on.cards) if on is not None else {}
    precision = "" if on is not None or options.precision == "auto" else options.precision
    async with AsyncExitStack() as undo:
        server = await Server.start(
            Options(
                model=path if machines == 1 else shared_folder(path),
                context=sizes.context,
                slots=options.slots,
                cache_bytes=sizes.cache_bytes // max(count, 1),
                cards=count,
                visible=found,
                threads=options.threads,
                precision=precision,
                ray=options.ray if machines > 1 else None,
            ),
            weights,
            progress,
        )
        undo.push_async_callback(server.close)
        taken = _beside(weights, count) + sizes.cache_bytes
        shares = on.shares(taken) if on is not None else {}
        options.children.take(shares)
        undo.callback(options.children.give_back, shares)
        engine = VllmEngine(
            server,
            tokenizer,
            template_of(tokenizer, path.name),
            defaults,
            quantization=_quantization(config),
            precision=precision,
            choice=_choice(options, count, machines, sizes.context, shape.known),
            fallback=_fallback(options.quantization),
            context=sizes.context,
            vocabulary=_vocabulary(config, tokenizer),
            cache_tokens=sizes.cache_bytes // layers.token_bytes,
            on_cards=sum(shares.values()),
            on_close=lambda: options.children.give_back(shares),
        )
        undo.pop_all()  # from now on the engine closes them
    return engine


def _machines(whole: int, options: LoadOptions) -> int:
    """Return over how many machines a model goes that takes `whole` bytes."""
    if options.ray is None or not options.backend.is_gpu or whole <= options.room:
        return 1
    return options.ray.machines


def shared_folder(path: Path) -> Path:
    """Return the folder that holds the files of the model at `path`, for other machines to read.

    Raises:
        TaskError: UNSUPPORTED if they do not lie there as a model: downloads do not.
    """
    folder = files_of(path)[0].resolve().parent
    if (folder / "config.json").is_file() and files_of(folder):
        return folder
    raise TaskError(
        pb.UNSUPPORTED,
        f"{path.name} goes over several machines with Ray, which read it from the same folder each",
        "put it into models_dir, as a folder that all of them have at the same path",
    )


def _weights(path: Path) -> int:
    return sum(file.stat().st_size for file in files_of(path))


def _beside(weights: int, cards: int = 1) -> int:
    """Return what weights of so many bytes take on so many cards, or in RAM, without a cache."""
    return with_work(weights) + WORK * max(cards, 1)


def _shape(config: Mapping[str, Any], options: LoadOptions) -> Shape:
    wide = options.precision == "float32" and not options.backend.is_gpu
    return shape_of(config, value_bytes=4 if wide else 2)


def _generation_config(path: Path) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(path, local_files_only=True)
    except OSError:  # there is none
        return GenerationConfig()


def _vocabulary(config: Mapping[str, Any], tokenizer: Any) -> int:
    nested = config.get("text_config")
    text = nested if isinstance(nested, Mapping) else config
    size = text.get("vocab_size")
    return size if isinstance(size, int) else len(tokenizer)


def _quantization(config: Mapping[str, Any]) -> str:
    """Return how the checkpoint is quantised, as it says itself."""
    told = config.get("quantization_config")
    method = told.get("quant_method") if isinstance(told, Mapping) else None
    return shown(method) if isinstance(method, str) and method else "none"


def _fallback(quantization: str) -> str:
    if quantization in ("8bit", "4bit"):
        return f"vLLM runs weights as they are published, so they are not made {quantization}"
    return ""


def _choice(options: LoadOptions, cards: int, machines: int, context: int, known: int) -> str:
    """Return, for people, why the model is run so."""
    where = "a CPU" if not cards else "a GPU" if cards == 1 else f"{cards} GPUs"
    if machines > 1:
        where += f" of each of {machines} machines with Ray, because this one cannot hold it"
    at_once = "1 task" if options.slots == 1 else f"{options.slots} tasks"
    room = f"{context_of(context, known)} a task; {at_once} at once"
    return f'engine = "vllm" is set; on {where}; {room}'
