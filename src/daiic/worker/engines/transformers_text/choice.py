"""Which way a language model is served: by continuous batching if that computes what it does.

transformers does not say which models its batching can take. It refuses some, fails on others, and
with a few it would compute something else. So a model is tried.
"""

import asyncio
from typing import Any

import structlog
import torch

from daiic.errors import TaskError
from daiic.worker.engines.torch.errors import is_out_of_memory
from daiic.worker.engines.transformers_text import attention
from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.sampling import Sampling

GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=0)

LENGTHS = (9, 24)
"""Of the texts of the trial, which run together."""

ANSWER = 4

CLOSE = 0.5
"""How far below the model's own choice another token may be, in standard deviations of the logits:
other kernels round otherwise. A token by chance is some four below."""

log = structlog.get_logger()


async def batched(model: Any, *, slots: int, capacity: int) -> tuple[Batch | None, str]:
    """Return a batch that serves `model`, or `None` and the reason why there is none.

    Raises:
        Exception: of several kinds, if memory ran out.
    """
    reason = _obstacle(model)
    if reason:
        return None, reason
    batch = None
    try:
        batch = Batch(model, slots=slots, capacity=capacity)
        reason = await _differs(batch, model, slots)
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


async def _differs(batch: Batch, model: Any, slots: int) -> str:
    """Return how a trial's texts differ from the model's own, or nothing if they do not."""
    vocabulary = model.config.get_text_config().vocab_size
    prompts = [
        [(number * 7919 + length) % vocabulary for number in range(length)] for length in LENGTHS
    ]
    running = [batch.submit(prompt, GREEDY, max_tokens=ANSWER, end_tokens=()) for prompt in prompts]
    for prompt, stream in zip(prompts, running, strict=True):
        made = await stream.new_tokens()
        while not stream.ended:
            made += await stream.new_tokens()
        if not await asyncio.to_thread(_would_say, model, prompt, made):
            return "batching computes something else than the model"
    return ""


@torch.inference_mode()
def _would_say(model: Any, prompt: list[int], made: list[int]) -> bool:
    """Whether the model itself would continue `prompt` by the tokens `made`, or nearly."""
    tokens = torch.tensor([prompt + made], device=model.device)
    logits = model(input_ids=tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    chosen = logits.gather(-1, tokens[0, len(prompt) :, None].to(logits.device))
    short = logits.amax(-1, keepdim=True) - chosen
    return not bool((short > CLOSE * logits.std(-1, keepdim=True)).any())
