"""Serving models that continuous batching cannot serve, the way transformers' `generate` does.

The model makes its own cache, whatever its layers need. One thread advances
all tasks in turn, a token each; tasks whose prompts are equally long, and
that wait together, make one batch.
"""

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
import torch
from transformers.generation.continuous_batching.requests import RequestStatus

from daiic.worker.engines.transformers_text.adapters import Adapters
from daiic.worker.engines.transformers_text.choosing import choose
from daiic.worker.engines.transformers_text.group import Group, Text
from daiic.worker.engines.transformers_text.sampling import pack, unpack
from daiic.worker.engines.transformers_text.text_generator import STOP_PATIENCE, TextGenerator

PREFILL = 1024
"""Most tokens of a prompt in one step, where the model's cache can be filled in pieces."""

MEASURE = 64
"""Steps after which a cache is measured again."""

log = structlog.get_logger()


class Turns(TextGenerator):
    """A model that generates for many tasks, group by group."""

    def __init__(
        self,
        model: Any,
        *,
        slots: int,
        token_bytes: float,
        spare: Callable[[], int],
        adapters: Adapters | None = None,
    ) -> None:
        """`spare` tells how many bytes more the caches may take, of which one token takes
        `token_bytes`. A task alone may take more."""
        super().__init__()
        self._model = model
        self._slots = slots
        self._adapters = adapters
        self._spare = spare
        self._first = first_state(model)
        self._in_pieces = _reads_in_pieces(model)
        self._token_bytes = token_bytes
        self._limit = 0
        self._waiting: deque[Text] = deque()
        self._groups: list[Group] = []
        self._cancelled: set[str] = set()
        self._news = threading.Condition()
        self._closing = False
        self._stepped_at = time.monotonic()
        # A long prompt on a slow machine takes minutes; that its layers follow each other shows
        # that it goes on.
        self._hooks = [
            layer.register_forward_pre_hook(self._note_progress) for layer in _layers(model)
        ]
        self._thread = threading.Thread(target=self._run, name="text turns")
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def stepped_at(self) -> float:
        """When the model made its last step, by `time.monotonic`."""
        return self._stepped_at

    @property
    def bytes(self) -> int:
        """Memory of the caches now."""
        return sum(group.bytes for group in list(self._groups))

    def _start(self, text: Text) -> None:
        self._limit = self.bytes + self._spare()
        with self._news:
            self._waiting.append(text)
            self._news.notify()

    def _stop(self, name: str) -> None:
        with self._news:
            self._cancelled.add(name)
            self._news.notify()

    async def _end(self) -> None:
        with self._news:
            self._closing = True
            self._news.notify()
        await asyncio.to_thread(self._thread.join, STOP_PATIENCE)
        for hook in self._hooks:
            hook.remove()

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            log.error("the generation thread has ended", exc_info=error)
            reason = f"{type(error).__name__}: {error}"
            self._loop.call_soon_threadsafe(self._streams.fail_all, reason)

    @torch.inference_mode()
    def _work(self) -> None:
        while True:
            with self._news:
                while not (self._closing or self._waiting or self._groups):
                    self._news.wait()
                if self._closing:
                    self._groups.clear()
                    return
            self._drop_cancelled()
            self._begin()
            for group in list(self._groups):
                try:
                    self._step(group)
                except Exception as error:
                    self._fail(group, error)
                if not group.texts:
                    self._gone(group)

    def _begin(self) -> None:
        """Make the first text that waits a group, with all others of its length.

        A text with images stays alone: their sizes, and so its first step, are its own.
        """
        with self._news:
            room = self._slots - sum(len(group.texts) for group in self._groups)
            if not self._waiting or room < 1:
                return
            first = self._waiting[0]
            length = len(first.prompt)
            if self._groups:
                free = max(self._limit - self.bytes, 0)
                room = min(room, int(free / (self._token_bytes * length)))
            alike = [
                text
                for text in self._waiting
                if text is first
                or (len(text.prompt) == length and text.seen is None and first.seen is None)
            ][:room]
            for text in alike:
                self._waiting.remove(text)
        if alike:
            tokens = torch.tensor([text.prompt for text in alike], device=self._model.device)
            self._groups.append(Group(tokens, dict(self._first), texts=alike))

    def _step(self, group: Group) -> None:
        """Read on in the prompts, or make the next token of each text."""
        length = group.tokens.shape[1]
        seen = group.texts[0].seen
        if seen is not None and not group.read:
            group.state |= seen.first_state(self._model, group.tokens)
        in_pieces = self._in_pieces and seen is None
        end = min(group.read + PREFILL, length) if in_pieces else length
        if end == length:
            guided = [(row, text.guide, length) for row, text in enumerate(group.texts)]
            self._guides.begin(guided)
        outputs = self._advance(group, end)
        self._note_progress()
        if end < length:
            return
        if not group.bytes or length % MEASURE == 0:
            group.measure()
            self._token_bytes = max(group.bytes / group.tokens.numel(), 1.0)
        scores = outputs.logits[:, -1].to(copy=True, dtype=torch.float32)
        chances = pack((text.sampling, length) for text in group.texts).to(scores.device)
        self._guides.apply(scores)
        choose(scores, unpack(chances))
        self._guides.note(scores)
        self._take(group, scores.argmax(-1).to(group.tokens.device))

    def _take(self, group: Group, chosen: torch.Tensor) -> None:
        """Add a token to each text, and let those go that are complete."""
        for text, token in zip(group.texts, chosen.tolist(), strict=True):
            text.made.append(token)
        group.tokens = torch.cat([group.tokens, chosen[:, None]], dim=1)
        done = [text.complete for text in group.texts]
        outputs = [
            text.output(RequestStatus.FINISHED if ended else RequestStatus.DECODING)
            for text, ended in zip(group.texts, done, strict=True)
        ]
        group.keep([row for row, ended in enumerate(done) if not ended])
        self._streams.deliver_batch(outputs)

    def _drop_cancelled(self) -> None:
        with self._news:
            gone, self._cancelled = self._cancelled, set()
            if not gone:
                return
            self._waiting = deque(text for text in self._waiting if text.name not in gone)
        for group in list(self._groups):
            group.keep([row for row, text in enumerate(group.texts) if text.name not in gone])
            if not group.texts:
                self._gone(group)

    def _advance(self, group: Group, end: int) -> Any:
        if self._adapters is not None:
            self._adapters.begin([text.chain for text in group.texts])
        return group.advance(self._model, end)

    def _gone(self, group: Group) -> None:
        self._groups.remove(group)

    def _fail(self, group: Group, error: Exception) -> None:
        log.error("generation failed", exc_info=error)
        reason = f"{type(error).__name__}: {error}"
        self._streams.deliver_batch(
            [text.output(RequestStatus.FAILED, reason) for text in group.texts]
        )
        group.texts.clear()

    def _note_progress(self, *_: Any) -> None:
        self._stepped_at = time.monotonic()


def first_state(model: Any) -> dict[str, Any]:
    """Return the arguments of the first step of a text."""
    first: dict[str, Any] = {"use_cache": True}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        first["logits_to_keep"] = 1
    return first


def _layers(model: Any) -> list[torch.nn.Module]:
    """Return the layers of all parts of the model: the lists of modules that lie in no other."""
    lists: dict[str, torch.nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, torch.nn.ModuleList) and not inside:
            lists[name] = module
    return [layer for module in lists.values() for layer in module]


def _reads_in_pieces(model: Any) -> bool:
    """Whether the model's layers take a prompt piece by piece: those with keys and values do."""
    layers = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return not getattr(model, "_is_stateful", False) and all("attention" in kind for kind in layers)
