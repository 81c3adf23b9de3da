"""transformers' continuous batching, fitted for this worker.

The manager runs the model in a thread of its own, on all tasks at once: a
task joins the running batch at the next token and leaves when it is done.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd, lcm
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from daiic.worker.engines.transformers_text import adapted_cache, attention, windows
from daiic.worker.engines.transformers_text.adapters import Adapters
from daiic.worker.engines.transformers_text.group import Text
from daiic.worker.engines.transformers_text.sampler import Sampler
from daiic.worker.engines.transformers_text.storage import storage_bytes
from daiic.worker.engines.transformers_text.text_generator import STOP_PATIENCE, TextGenerator

PAGE = 32
"""Tokens in a block of the cache: tasks take whole blocks, and share those with the same text."""

PREFILL = 1024
"""Most tokens of one step. Prompts are read in pieces of that size, between others' tokens."""

MASKED_PREFILL = 256
"""The same where the manager keeps a mask of so many rows for each kind of layer: with two kinds
each column stands for several tokens' memory, and the masks would outgrow the cache."""

_KNOWN = {field.name for field in dataclasses.fields(ContinuousBatchingConfig)}
"""The settings that this version of transformers has."""


class Batch(TextGenerator):
    """A model whose tasks share one cache of `capacity` tokens.

    A task that would be longer ends when the cache is full, and can be
    submitted again with its text so far.
    """

    unfilled = PAGE

    def __init__(
        self,
        model: Any,
        *,
        slots: int,
        capacity: int,
        flash: str = "",
        ahead: bool = False,
        adapters: Adapters | None = None,
    ) -> None:
        """Start the thread that builds the cache and runs the model.

        `flash` is transformers' name of the flash attention to use, if any. With
        `ahead` it prepares a batch while the one before it runs, on a card.

        Raises:
            Exception: of several kinds, if transformers cannot batch `model`.
        """
        super().__init__()
        self.capacity = capacity
        self._sampler = Sampler(
            self._guides, self._streams.begin, waits=not ahead, adapters=adapters
        )
        self._model = model
        self._attention = model.config._attn_implementation
        config = model.config.get_text_config()
        packed = not flash and attention.serves(model)
        kinds = set(getattr(config, "layer_types", None) or ())
        step = PREFILL if flash or packed or len(kinds) < 2 else MASKED_PREFILL
        try:
            if flash:
                model.set_attn_implementation(flash)
            self._manager = model.init_continuous_batching(
                generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
                continuous_batching_config=_settings(
                    **_blocks(config, slots, capacity),
                    max_batch_tokens=max(step, slots),
                    max_requests_per_batch=slots,
                    # `capacity` was chosen by what is free, and for less than the worst case that
                    # the manager expects.
                    max_memory_percent=1.0,
                    # Flash attention reads blocks by itself only if they are of 256 tokens.
                    max_blocks_per_request=0,
                    use_async_batching=ahead,
                    use_cuda_graph=False,
                    auto_switch_to_flash=False,
                ),
            )
            self._manager.logit_processor = self._sampler
            self._manager.output_router = self._streams
            attention.register()
            windows.register()
            adapted_cache.register()
            if packed:
                model.set_attn_implementation(attention.NAME)
            _log_like_the_rest()
            with torch.inference_mode():
                self._manager.start()
        except BaseException:
            model.set_attn_implementation(self._attention)
            raise
        self._watch = asyncio.create_task(self._fail_with_the_thread())

    @property
    def alive(self) -> bool:
        """Whether its thread runs; it never does again after a fatal error."""
        return bool(self._manager.is_running())

    async def ready(self) -> bool:
        """Wait until the cache is there; return whether it is."""
        while self.alive and self._manager.batch_processor is None:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        return self.alive

    @property
    def stepped_at(self) -> float:
        """When the model made its last step, by `time.monotonic`."""
        return self._sampler.stepped_at

    @property
    def bytes(self) -> int:
        """Memory of the cache and of what grows with it; 0 before the first step."""
        processor = self._manager.batch_processor
        if processor is None:
            return 0
        inputs = processor.inputs_and_outputs
        pairs = getattr(inputs, "io_pairs", None)  # where batches are prepared ahead
        held = [inputs] if pairs is None else [pair.device_io for pair in pairs]
        return storage_bytes(processor.cache, *held)

    @contextmanager
    def attention_as_loaded(self) -> Iterator[None]:
        """Let the model, while no text is in work, attend as if it were not batched."""
        batched = self._model.config._attn_implementation
        self._model.set_attn_implementation(self._attention)
        try:
            yield
        finally:
            self._model.set_attn_implementation(batched)

    def _start(self, text: Text) -> None:
        assert text.seen is None, "batches take tokens alone"
        self._manager.add_request(
            text.prompt,
            request_id=text.name,
            max_new_tokens=min(text.max_tokens, self.capacity - len(text.prompt)),
            eos_token_id=list(text.end_tokens),
            streaming=True,
            sampling=text.sampling,
            guide=text.guide,
            chain=text.chain,
        )

    def _stop(self, name: str) -> None:
        self._manager.cancel_request(name)

    async def close(self, *, interrupt: bool = False) -> None:
        """See `TextGenerator`."""
        self._watch.cancel()
        for name in self._streams.running:
            self._manager.cancel_request(name)
        await super().close(interrupt=interrupt)

    async def _end(self) -> None:
        await asyncio.to_thread(self._manager.stop, block=True, timeout=STOP_PATIENCE)
        self._model.set_attn_implementation(self._attention)

    async def _fail_with_the_thread(self) -> None:
        """End what the thread, should it be gone without a word, would leave waiting."""
        while True:
            await asyncio.sleep(0.5)
            if not self.alive:
                self._streams.fail_all("the generation thread has ended")


def _blocks(config: Any, slots: int, capacity: int) -> dict[str, int]:
    """Return the settings of a cache that has `capacity` tokens for `slots` tasks.

    Each task leaves a block unfilled. Layers of different kinds get memory in
    pieces that both can divide into blocks, and each kind may leave one unused.
    """
    layers = list(getattr(config, "layer_types", None) or ())
    counts = [layers.count(kind) for kind in set(layers)] or [1]
    blocks = capacity // PAGE + slots
    if "page_size" in _KNOWN:
        pieces = len(counts) * lcm(*counts) // sum(counts) + 1 if len(counts) > 1 else 0
        return {"page_size": PAGE, "num_blocks": blocks + pieces}
    # Older versions have blocks of only so many layers as divide each kind's without rest.
    return {"block_size": PAGE, "num_blocks": blocks * (sum(counts) // gcd(*counts))}


def _log_like_the_rest() -> None:
    """Leave what the manager logs to the root logger; it brings a handler of its own."""
    logger = logging.getLogger("ContinuousBatchingLogger")
    logger.handlers.clear()
    logger.propagate = True


def _settings(**wanted: Any) -> ContinuousBatchingConfig:
    """Return a configuration of those settings that are known.

    What later versions decide by themselves, and must be told not to, is new in them.
    """
    return ContinuousBatchingConfig(
        **{name: value for name, value in wanted.items() if name in _KNOWN}
    )
