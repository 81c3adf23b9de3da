"""transformers' continuous batching, fitted for this worker.

The manager runs the model in a thread of its own, on all tasks at once: a
task joins the running batch at the next token and leaves when it is done.
"""

import asyncio
import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestStatus

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.shortage import is_out_of_memory
from daiic.worker.text import attention
from daiic.worker.text.sampling import Sampler, Sampling

PAGE = 32
"""Tokens in a block of the cache: tasks take whole blocks, and share those with the same text."""

PREFILL = 1024
"""Most tokens of one step. Prompts are taken in pieces of it, between others' tokens."""

INTERVAL = 0.02
"""Seconds between parts of one answer: fifty a second read as a stream, and what is sent for each
token would cost small models more than the token. The first and the last part do not wait."""

STOP_PATIENCE = 30.0

ENDED = (RequestStatus.FINISHED, RequestStatus.FAILED)


class Generation:
    """One task of a batch, from its first token to its last."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._output: GenerationOutput | None = None
        self._error: Exception | None = None
        self._taken = 0

    @property
    def begun(self) -> bool:
        """Whether anything has been delivered."""
        return self._output is not None

    @property
    def ended(self) -> bool:
        """Whether `new_tokens` has returned the last of them."""
        return self._output is not None and self._output.status == RequestStatus.FINISHED

    async def new_tokens(self) -> list[int]:
        """Wait for tokens and return all that have arrived.

        Raises:
            torch.OutOfMemoryError: if memory ran out; the batch is of no use then.
            TaskError: INTERNAL if generation failed otherwise, SHUTTING_DOWN
                if the batch was closed.
        """
        await self._arrived.wait()
        self._arrived.clear()
        if self._error is not None:
            raise self._error
        assert self._output is not None
        new: list[int] = self._output.generated_tokens[self._taken :]
        self._taken += len(new)
        return new

    def deliver(self, output: GenerationOutput) -> None:
        """Take what was generated so far, which replaces what came before."""
        self._output = output
        if output.status == RequestStatus.FAILED:
            self.fail(_failure(output.error or "no reason given"))
        self._arrived.set()

    def fail(self, error: Exception) -> None:
        """Let `new_tokens` raise `error`."""
        self._error = error
        self._arrived.set()


class Batch:
    """A model that generates for many tasks at once.

    `capacity` is the number of tokens that the cache holds, all tasks
    together; a single task must stay under it.
    """

    def __init__(self, model: Any, *, slots: int, capacity: int) -> None:
        self.capacity = capacity
        self._sampler = Sampler(model.device)
        self._router = _Router(asyncio.get_running_loop())
        self._numbers = itertools.count()
        self._busy_since = 0.0
        self._model = model
        self._attention = model.config._attn_implementation
        self._manager = model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
            continuous_batching_config=_settings(
                page_size=PAGE,
                block_size=PAGE,
                num_blocks=capacity // PAGE,
                max_batch_tokens=max(PREFILL, slots),
                max_requests_per_batch=slots,
                use_async_batching=False,
                use_cuda_graph=False,
                auto_switch_to_flash=False,
            ),
        )
        self._manager.logit_processor = self._sampler
        self._manager.output_router = self._router
        if model.device.type == "cpu" and attention.serves(model.config, self._attention):
            attention.register()
            model.set_attn_implementation(attention.NAME)
        _log_like_the_rest()
        with torch.inference_mode():
            self._manager.start()
        self._watch = asyncio.create_task(self._fail_with_the_thread())

    @property
    def alive(self) -> bool:
        """Whether its thread runs; it never does again after a fatal error."""
        return bool(self._manager.is_running())

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        if not self._router.running:
            return 0.0
        return time.monotonic() - max(self._busy_since, self._sampler.stepped_at)

    def submit(
        self,
        prompt: list[int],
        sampling: Sampling,
        *,
        max_tokens: int,
        end_tokens: Iterable[int],
    ) -> Generation:
        """Start a task; it ends after `max_tokens`, or with one of `end_tokens`."""
        name = str(next(self._numbers))
        generation = Generation()
        if not self._router.running:
            self._busy_since = time.monotonic()
        self._router.running[name] = generation
        self._manager.add_request(
            prompt,
            request_id=name,
            max_new_tokens=max_tokens,
            eos_token_id=list(end_tokens),
            streaming=True,
            sampling=sampling,
        )
        return generation

    def cancel(self, generation: Generation) -> None:
        """Stop a task and free its part of the cache; one that has ended is left alone."""
        for name, running in self._router.running.items():
            if running is generation:
                del self._router.running[name]
                self._manager.cancel_request(name)
                return

    async def close(self) -> None:
        """End all tasks with SHUTTING_DOWN, and the thread."""
        self._watch.cancel()
        for generation in list(self._router.running.values()):
            self.cancel(generation)
            generation.fail(
                TaskError(pb.SHUTTING_DOWN, "the model is being unloaded", "send the task again")
            )
        await asyncio.to_thread(self._manager.stop, block=True, timeout=STOP_PATIENCE)
        self._model.set_attn_implementation(self._attention)

    async def _fail_with_the_thread(self) -> None:
        """End what the thread, should it be gone without a word, would leave waiting."""
        while True:
            await asyncio.sleep(0.5)
            if not self.alive:
                self._router.fail_all("the generation thread has ended")


class _Router(OutputRouter):  # type: ignore[misc]
    """Hands outputs to their tasks, in the event loop, and drops those of cancelled tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: dict[str, GenerationOutput] = {}
        self._handed_out_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.running: dict[str, Generation] = {}

    def deliver(self, output: GenerationOutput) -> None:
        self.deliver_batch([output])

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        with self._lock:
            is_first = not self._waiting
            # A later output holds all of an earlier one's tokens.
            self._waiting.update((output.request_id, output) for output in outputs)
        if is_first or any(
            output.status in ENDED or len(output.generated_tokens) == 1 for output in outputs
        ):
            self._loop.call_soon_threadsafe(self._hand_out_soon)

    def fail_all(self, reason: str) -> None:
        for generation in self.running.values():
            generation.fail(_failure(reason))
        self.running.clear()

    def _hand_out_soon(self) -> None:
        wait = self._handed_out_at + INTERVAL - self._loop.time()
        if wait <= 0:
            self._hand_out_all()
            return
        with self._lock:
            urgent = [name for name, output in self._waiting.items() if self._urgent(name, output)]
            outputs = {name: self._waiting.pop(name) for name in urgent}
        self._hand_out(outputs)
        if self._timer is None:
            self._timer = self._loop.call_later(wait, self._hand_out_all)

    def _hand_out_all(self) -> None:
        with self._lock:
            outputs, self._waiting = self._waiting, {}
        self._timer = None
        self._handed_out_at = self._loop.time()
        self._hand_out(outputs)

    def _urgent(self, name: str, output: GenerationOutput) -> bool:
        return output.status in ENDED or (name in self.running and not self.running[name].begun)

    def _hand_out(self, outputs: dict[str, GenerationOutput]) -> None:
        for name, output in outputs.items():
            generation = self.running.get(name)
            if generation is None:
                continue
            if output.status in ENDED:
                del self.running[name]
            generation.deliver(output)


def _failure(reason: str) -> Exception:
    """Return an exception for what the manager reports only as a string."""
    if is_out_of_memory(RuntimeError(reason)):
        return torch.OutOfMemoryError(reason)
    return TaskError(
        pb.INTERNAL, f"generation failed: {reason}", "the worker's log has the traceback"
    )


def _log_like_the_rest() -> None:
    """Leave what the manager logs to the root logger; it brings a handler of its own."""
    logger = logging.getLogger("ContinuousBatchingLogger")
    logger.handlers.clear()
    logger.propagate = True


def _settings(**wanted: Any) -> ContinuousBatchingConfig:
    """Return a configuration of those settings that this version of transformers has.

    `block_size` became `page_size` in 5.17, and what later versions decide by
    themselves and must be told not to is new in them.
    """
    known = {field.name for field in dataclasses.fields(ContinuousBatchingConfig)}
    if "page_size" in known:
        del wanted["block_size"]
    return ContinuousBatchingConfig(
        **{name: value for name, value in wanted.items() if name in known}
    )
