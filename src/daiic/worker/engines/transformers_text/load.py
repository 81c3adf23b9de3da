"""Loading a language model, and starting what serves it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import transformers
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.torch import weights
from daiic.worker.engines.torch.errors import translated
from daiic.worker.engines.torch.footprint import weights_bytes, with_work
from daiic.worker.engines.torch.threads import use_fastest
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.torch.weights_plan import files_of
from daiic.worker.engines.transformers_embedding.embedder import Embedder
from daiic.worker.engines.transformers_embedding.recipe import Recipe
from daiic.worker.engines.transformers_text import growth
from daiic.worker.engines.transformers_text.adapters import load_adapters
from daiic.worker.engines.transformers_text.batch import PAGE, Batch
from daiic.worker.engines.transformers_text.chat_template import template_of
from daiic.worker.engines.transformers_text.choice import batched
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.explanation import choice_of
from daiic.worker.engines.transformers_text.flash import NAMES
from daiic.worker.engines.transformers_text.growth import SHARE, Growth
from daiic.worker.engines.transformers_text.turns import Turns
from daiic.worker.engines.transformers_vision.files import sees
from daiic.worker.engines.transformers_vision.processor import Processor, load_processor
from daiic.worker.engines.transformers_vision.seeing import Seeing
from daiic.worker.engines.transformers_vision.trial import try_seeing
from daiic.worker.engines.transformers_vision.twin import twin
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.adapters import bytes_of_adapters
from daiic.worker.models.model import Model
from daiic.worker.slices import load as slices

LEAST_CONTEXT = 256

_TRIAL = pb.Task(text=pb.TextTask(prompt="1", max_tokens=1))
"""Run after loading, so that what does not work shows then."""

log = structlog.get_logger()


def footprint(model: Model, options: LoadOptions) -> int:
    """See `EngineModule`."""
    if model.plan:
        return slices.footprint(model, options)
    return with_work(expected_weights(model, options)) + bytes_of_adapters(model)


def expected_weights(model: Model, options: LoadOptions) -> int:
    """Return the bytes of the weights of `model`.

    Raises:
        TaskError: if they cannot be used.
    """
    return weights_bytes(
        files_of(model.path),
        options.backend,
        options.quantization,
        options.room,
        options.precision,
    )


async def load(
    path: Path, options: LoadOptions, budget: MemoryBudget, progress: Callable[[float], None]
) -> Engine:
    """Load the language model in the directory `path` and return the engine that serves it.

    Where a quantisation cannot be had the engine's `fallback` says why. Weights
    beyond `budget.vram_bytes` go to RAM if `options.ram_offload` allows. At most
    `options.slots` tasks run in one batch. `progress` is called with 0 to 1, in
    the event loop.

    Raises:
        TaskError: UNSAFE_WEIGHTS without safetensors, OUT_OF_MEMORY if the
            budget is too small, BAD_REQUEST if it is no language model.
        EngineOutOfMemory, DeviceLost: as those say.
    """
    if options.plan:
        return await slices.load(path, options, budget, progress)
    loop = asyncio.get_running_loop()

    def tell(done: float) -> None:
        loop.call_soon_threadsafe(progress, done)

    def work() -> tuple[Any, Weights, Embedder, Processor | str]:
        tokenizer = load_tokenizer(path)
        loaded = weights.load(
            causal_language_model(path),
            path,
            backend=options.backend,
            quantization=options.quantization,
            precision=options.precision,
            budget=budget,
            ram_offload=options.ram_offload,
            progress=tell,
        )
        embedder = Embedder(_without_head(loaded.model), tokenizer, Recipe())
        return tokenizer, loaded, embedder, _processor(path, tokenizer, loaded.model)

    with translated():
        tokenizer, loaded, embedder, processor = await asyncio.to_thread(work)
        if options.threads and options.fewer_threads and not options.backend.is_gpu:
            threads = await asyncio.to_thread(use_fastest, loaded.model, options.threads)
            options = replace(options, threads=threads)
        engine = await _serve(path, loaded, tokenizer, embedder, processor, options, budget)
    try:
        async for _ in engine.run(_TRIAL):
            pass
        if pb.SEE in engine.capabilities and (reason := await try_seeing(engine)):
            await engine.see_no_more(reason)
    except BaseException as error:
        await engine.close()
        if isinstance(error, TaskError) and error.code == pb.INTERNAL:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{path.name} cannot be served: {error.message}",
                "the worker's log has the traceback; choose another model",
            ) from error
        raise
    return engine


async def _serve(
    path: Path,
    loaded: Weights,
    tokenizer: Any,
    embedder: Embedder,
    processor: Processor | str,
    options: LoadOptions,
    budget: MemoryBudget,
) -> TextEngine:
    """Return the engine that serves a model, in batches if it can."""
    model, slots, on_gpu = loaded.model, options.slots, options.backend.is_gpu
    adapters = await asyncio.to_thread(load_adapters, path, model)
    if adapters is not None:
        loaded.footprint += adapters.bytes
    room = (budget.vram_bytes if on_gpu else budget.ram_bytes) - loaded.footprint
    known = _known_context(model)
    working = growth.working_bytes(model)

    def fitting(token_bytes: float) -> int:
        tokens = int(max(room, 0) * SHARE / (token_bytes + working))
        if tokens < min(known, LEAST_CONTEXT):
            raise TaskError(
                pb.OUT_OF_MEMORY,
                f"{path.name} fits, but leaves memory for a context of {tokens} tokens only",
                'set quantization = "4bit", or choose a smaller model',
            )
        return tokens

    engine: TextEngine | None = None

    def held() -> int:
        return engine.footprint if engine is not None else loaded.footprint

    spare = growth.spare(budget, on_gpu=on_gpu, held=held)

    def turns(model: Any, token_bytes: float) -> Turns:
        return Turns(
            model,
            slots=slots,
            token_bytes=token_bytes,
            spare=lambda: int(spare() * SHARE),
            adapters=adapters,
        )

    blind, seeing, other_template = "", None, None
    if isinstance(processor, Processor):
        other_template = processor.chat_template
        other = await asyncio.to_thread(twin, model)
        seeing = Seeing(processor, lambda: turns(other, growth.token_bytes(model)))
    elif processor:
        blind = f"sees no images: {processor}"
    template = template_of(tokenizer, path.name, other_template)
    start = growth.start(model, fitting(growth.token_bytes(model)))
    served = await batched(model, slots=slots, capacity=start, adapters=adapters)
    batch, flash = served.batch, served.flash
    if batch is not None:
        log.info("served by continuous batching", model=path.name, attention=flash or "torch's")
        _tell_what_is_ignored(path, model)
        token_bytes = batch.bytes / batch.capacity + working
        context = min(known, fitting(batch.bytes / batch.capacity))
        engine = TextEngine(
            loaded,
            tokenizer,
            template,
            embedder,
            batch,
            lambda capacity: Batch(
                model,
                slots=slots,
                capacity=capacity,
                flash=flash,
                ahead=bool(flash),
                adapters=adapters,
            ),
            growth=Growth(start, slots * (known + PAGE), token_bytes, spare),
            seeing=seeing,
            context=context,
            choice=choice_of(loaded, options, context, known, attention=NAMES.get(flash, "")),
            fallback=_joined(served.without_flash, blind),
            adapters=adapters,
        )
        return engine
    log.warning("served text by text, not in batches", model=path.name, reason=served.reason)
    token_bytes = await asyncio.to_thread(growth.measured_token_bytes, model)

    context = min(known, fitting(token_bytes))
    engine = TextEngine(
        loaded,
        tokenizer,
        template,
        embedder,
        turns(model, token_bytes),
        lambda _: turns(model, token_bytes),
        growth=None,
        seeing=seeing,
        context=context,
        choice=choice_of(loaded, options, context, known),
        fallback=_joined(f"not batched: {served.reason}", blind),
        adapters=adapters,
    )
    return engine


def _processor(path: Path, tokenizer: Any, model: Any) -> Processor | str:
    """Return what prepares images for a model that sees, or why there is none, nothing if it does
    not see."""
    if not sees(path, path.name):
        return ""
    try:
        return load_processor(path, tokenizer, limit=_known_context(model))
    except TaskError as error:
        log.warning("sees no images", model=path.name, reason=error.message)
        return error.message


def _known_context(model: Any) -> int:
    """Return how many tokens a text may have by the model's configuration."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def causal_language_model(path: Path) -> Any:
    """Return the class of transformers that loads the language model in `path`.

    Some that read images too are only known as that; they answer texts all the same.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError):
        return transformers.AutoModelForCausalLM  # which says what is wrong
    config_class = type(config)
    if (
        config_class not in MODEL_FOR_CAUSAL_LM_MAPPING
        and config_class in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    ):
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def _without_head(model: Any) -> Any:
    """Return the part of a language model that gives hidden states."""
    base = model.base_model
    return base if base is not model else model.model


def _tell_what_is_ignored(path: Path, model: Any) -> None:
    for name, neutral in (("repetition_penalty", 1.0), ("no_repeat_ngram_size", 0)):
        value = getattr(model.generation_config, name, None)
        if value is not None and value != neutral:
            log.warning("not applied", model=path.name, setting=f"{name}={value}")
