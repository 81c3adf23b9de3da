"""What generates for the tasks of a language model's engine: a `Batch` or `Turns`."""

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from daiic.worker.engines.transformers_text.adapted_cache import request_name
from daiic.worker.engines.transformers_text.adapters import PLAIN, Chain
from daiic.worker.engines.transformers_text.group import Text
from daiic.worker.engines.transformers_text.guide import Guide
from daiic.worker.engines.transformers_text.guides import Guides
from daiic.worker.engines.transformers_text.sampling import Sampling
from daiic.worker.engines.transformers_text.token_streams import TokenStream, TokenStreams
from daiic.worker.engines.transformers_vision.seen import Seen

STOP_PATIENCE = 30.0
"""Seconds that its thread has to end."""


class TextGenerator(ABC):
    """A model that generates for many tasks at once, in a thread of its own.

    `capacity` is the number of tokens that it holds at most, all tasks
    together; 0 where memory is taken as it is needed.
    """

    capacity = 0
    unfilled = 0
    """Tokens for which a text takes memory that it does not fill."""

    def __init__(self) -> None:
        """Belongs to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._streams = TokenStreams(self._loop)
        self._guides = Guides()
        self._numbers = itertools.count()
        self._busy_since = time.monotonic()

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether its thread runs; it never does again after it has failed."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Memory that it takes beside the model."""

    @property
    @abstractmethod
    def stepped_at(self) -> float:
        """When the model made its last step, by `time.monotonic`."""

    async def ready(self) -> bool:
        """Wait until it can take tasks; return whether it ever can."""
        return self.alive

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        if not self._streams.running:
            return 0.0
        return time.monotonic() - max(self._busy_since, self.stepped_at)

    @property
    def occupied(self) -> int:
        """Tokens that the texts in work take."""
        return sum(stream.length + self.unfilled for stream in self._streams.running.values())

    def submit(
        self,
        prompt: list[int],
        sampling: Sampling,
        *,
        max_tokens: int,
        end_tokens: Iterable[int],
        guide: Guide | None = None,
        seen: Seen | None = None,
        chain: Chain = PLAIN,
    ) -> TokenStream:
        """Start a task; it ends after `max_tokens` or with one of `end_tokens`.

        A `guide` is of `prompt`, and of no other task. `prompt` begins with the tokens of `seen`,
        if there are images in it; `Turns` take those. `chain` are the adapters that change it.

        Where there is a capacity, `prompt` must be shorter; the task ends
        before that if the cache is full of it alone.
        """
        name = request_name(str(next(self._numbers)), chain.number)
        stream = TokenStream(len(prompt))
        if not self._streams.running:
            self._busy_since = time.monotonic()
        self._streams.running[name] = stream
        ends = frozenset(end_tokens)
        self._start(Text(name, list(prompt), sampling, max_tokens, ends, guide, seen, chain))
        return stream

    def cancel(self, stream: TokenStream) -> None:
        """Stop a task and free its memory; one that has ended is left alone."""
        name = self._streams.name_of(stream)
        if name is not None:
            del self._streams.running[name]
            self._stop(name)

    async def close(self, *, interrupt: bool = False) -> None:
        """End the thread and all tasks: with SHUTTING_DOWN or, with `interrupt`, where they are.

        The memory is given back.
        """
        if interrupt:
            self._streams.interrupt_all()
        else:
            self._streams.shut_down()
        await self._end()
        self._guides.stop()

    @abstractmethod
    def _start(self, text: Text) -> None:
        """Have the thread generate `text`."""

    @abstractmethod
    def _stop(self, name: str) -> None:
        """Have the thread drop the text `name`."""

    @abstractmethod
    async def _end(self) -> None:
        """End the thread."""
