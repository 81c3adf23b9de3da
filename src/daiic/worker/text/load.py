"""Loading a language model, and how much of its memory the texts in work get."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import transformers

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import weights
from daiic.worker.backend import Backend
from daiic.worker.embedding.embedder import Embedder
from daiic.worker.embedding.recipe import Recipe
from daiic.worker.memory_budget import MemoryBudget
from daiic.worker.text.batch import PAGE, PREFILL, Batch
from daiic.worker.text.chat_template import template_of
from daiic.worker.text.engine import TextEngine
from daiic.worker.tokenizer import load_tokenizer
from daiic.worker.weights import Weights

CACHE_SHARE = 0.5
"""Of what the weights leave of the budget."""

LEAST_CONTEXT = 256

_TRIAL = pb.Task(text=pb.TextTask(prompt="1", max_tokens=1))
"""Run after loading, so that what does not work shows then."""

log = structlog.get_logger()


async def load_text(
    path: Path,
    *,
    backend: Backend,
    quantization: str,
    budget: MemoryBudget,
    ram_offload: bool,
    slots: int,
    progress: Callable[[float], None],
) -> TextEngine:
    """Load the language model in the directory `path` and return the engine that serves it.

    `quantization` is "none", "8bit" or "4bit"; where it cannot be had the
    engine's `fallback` says why. Weights beyond `budget.vram_bytes` go to RAM
    if `ram_offload` allows. At most `slots` tasks run in one batch. `progress`
    is called with 0 to 1, in the event loop.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, BAD_REQUEST if it is no language model.
    """
    loop = asyncio.get_running_loop()

    def tell(done: float) -> None:
        loop.call_soon_threadsafe(progress, done)

    def load() -> tuple[Any, Weights, Embedder]:
        tokenizer = load_tokenizer(path)
        loaded = weights.load(
            transformers.AutoModelForCausalLM,
            path,
            backend=backend,
            quantization=quantization,
            budget=budget,
            ram_offload=ram_offload,
            progress=tell,
        )
        return tokenizer, loaded, Embedder(loaded.model.base_model, tokenizer, Recipe())

    tokenizer, loaded, embedder = await asyncio.to_thread(load)
    _tell_what_is_ignored(path, loaded.model)
    room = budget.vram_bytes if backend.is_gpu else budget.ram_bytes
    capacity = _capacity(path, loaded, room, slots)
    loaded.footprint += capacity * _cache_bytes(loaded.model)
    engine = TextEngine(
        loaded,
        tokenizer,
        template_of(tokenizer, path.name),
        embedder,
        lambda: Batch(loaded.model, slots=slots, capacity=capacity),
    )
    try:
        async for _ in engine.run(_TRIAL):
            pass
    except BaseException:
        await engine.close()
        raise
    return engine


def _capacity(path: Path, loaded: Weights, room: int, slots: int) -> int:
    """Return how many tokens the cache shall hold: whole contexts for all, or what fits."""
    config = loaded.model.config.get_text_config()
    context = getattr(config, "max_position_embeddings", 4096)
    heads = config.num_attention_heads * _head_width(config)
    # What transformers reckons beside the cache itself: keys and values read
    # from it, repeated for all query heads, the mask, and an index.
    working = (3 * heads + PREFILL) * loaded.model.dtype.itemsize + 8
    spare = max(0, room - loaded.footprint) * CACHE_SHARE
    fitting = int(spare / (_cache_bytes(loaded.model) + working))
    capacity = min(fitting, slots * (context + PAGE)) // PAGE * PAGE
    if capacity < min(context, LEAST_CONTEXT):
        raise TaskError(
            pb.OUT_OF_MEMORY,
            f"{path.name} fits, but leaves memory for a context of {capacity} tokens only",
            'set quantization = "4bit", or choose a smaller model',
        )
    return capacity


def _cache_bytes(model: Any) -> int:
    """Return the bytes of one token's keys and values in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = 2 * heads * _head_width(config)
    return int(config.num_hidden_layers * width * model.dtype.itemsize)


def _head_width(config: Any) -> int:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(width)


def _tell_what_is_ignored(path: Path, model: Any) -> None:
    for name, neutral in (("repetition_penalty", 1.0), ("no_repeat_ngram_size", 0)):
        value = getattr(model.generation_config, name, None)
        if value is not None and value != neutral:
            log.warning("not applied in batches", model=path.name, setting=f"{name}={value}")
