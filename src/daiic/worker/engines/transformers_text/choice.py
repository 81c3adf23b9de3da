"""Which way a language model is served: by continuous batching if that computes what it does.

transformers does not say which models its batching can take. It refuses some, fails on others, and
with a few it would compute something else. So a model is tried.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
import torch

from daiic.errors import TaskError
from daiic.worker.engines.torch.errors import is_out_of_memory
from daiic.worker.engines.transformers_text import attention
from daiic.worker.engines.transformers_text.adapters import Adapters
from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.choosing import choose
from daiic.worker.engines.transformers_text.flash import NAMES, implementations
from daiic.worker.engines.transformers_text.sampling import Sampling, pack, unpack

GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=0)

TRIAL = ((9, GREEDY), (24, GREEDY), (16, Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=1)))
"""The texts of the trial, which run together: how long they are, and how they go on."""

ANSWER = 4

CLOSE = 0.5
"""How far below the model's own choice another token may be, in standard deviations of the logits:
other kernels round otherwise. A token by chance is some four below."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Batched:
    """The batch that serves a model, or `reason` why there is none.

    `flash` is the flash attention in it, as transformers calls it, and
    `without_flash` why one that is installed is not.
    """

    batch: Batch | None
    reason: str = ""
    flash: str = ""
    without_flash: str = ""


async def batched(
    model: Any, *, slots: int, capacity: int, adapters: Adapters | None = None
) -> Batched:
    """Find out whether and how `model` can be served in batches, maybe with `adapters`.

    Raises:
        Exception: of several kinds, if memory ran out.
    """
    reason = _obstacle(model)
    if reason:
        return Batched(None, reason)
    without_flash = ""
    for flash in [*implementations(model), ""]:
        # What is known to be prepared ahead is what needs no masks: they would be there four times.
        made = partial(
            Batch,
            model,
            slots=slots,
            capacity=capacity,
            flash=flash,
            ahead=bool(flash),
            adapters=adapters,
        )
        batch, reason = await _tried(made, model)
        if batch is not None:
            return Batched(batch, flash=flash, without_flash=without_flash)
        if flash:
            without_flash = f"no {NAMES[flash]}: {reason}"
            log.warning("flash attention is not used", attention=flash, reason=reason)
    return Batched(None, reason)


async def _tried(made: Callable[[], Batch], model: Any) -> tuple[Batch | None, str]:
    """Return the batch that `made` makes, or `None` and why it does not serve `model`."""
    batch = None
    try:
        batch = made()
        reason = await _differs(batch, model)
    except Exception as error:
        if is_out_of_memory(error):
            if batch is not None:
                await batch.close()
            raise
        message = error.message if isinstance(error, TaskError) else str(error)
        reason = message.partition("\n")[0] or type(error).__name__
    if reason and batch is not None:
        await batch.close()
    return (None, reason) if reason else (batch, "")


def _obstacle(model: Any) -> str:
    """Return what is known to keep a model from being batched, or nothing."""
    if getattr(model, "_is_stateful", False):
        # It would run, and forget the state after each step.
        return "its layers keep a state, not only keys and values"
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if len(places - {"cpu", "disk"}) > 1:
        # Its cache would be on one card.
        return "its layers are on several cards"
    config = model.config.get_text_config()
    if getattr(config, "kv_lora_rank", None):
        return "its keys and values are compressed (multi-head latent attention)"
    if attention.has_capped_logits(config) and not attention.serves(model):
        # It would run, and the manager's own attention would leave that out.
        return "its attention has capped logits"
    return ""


async def _differs(batch: Batch, model: Any) -> str:
    """Return how a trial's texts differ from the model's own, or nothing if they do not."""
    vocabulary = model.config.get_text_config().vocab_size
    trial = [
        ([(number * 7919 + length) % vocabulary for number in range(length)], sampling)
        for length, sampling in TRIAL
    ]
    running = [batch.submit(*one, max_tokens=ANSWER, end_tokens=()) for one in trial]
    texts = []
    for one, stream in zip(trial, running, strict=True):
        made = await stream.new_tokens()
        while not stream.ended:
            made += await stream.new_tokens()
        texts.append((*one, made))
    with batch.attention_as_loaded():
        for text in texts:
            if not await asyncio.to_thread(_would_say, model, *text):
                return "batching computes something else than the model"
    return ""


@torch.inference_mode()
def _would_say(model: Any, prompt: list[int], sampling: Sampling, made: list[int]) -> bool:
    """Whether the model itself would continue `prompt` by the tokens `made`, or nearly."""
    tokens = torch.tensor([prompt + made], device=model.device)
    scores = model(input_ids=tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].float().cpu()
    close = CLOSE * scores.std(-1, keepdim=True)
    choose(scores, unpack(pack((sampling, len(prompt) + place) for place in range(len(made)))))
    short = scores.amax(-1, keepdim=True) - scores.gather(-1, torch.tensor(made)[:, None])
    return not bool((short > close).any())
