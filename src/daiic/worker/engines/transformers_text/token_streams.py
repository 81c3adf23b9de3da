"""From the thread that makes tokens to the tasks that wait for them in the event loop."""

import asyncio
import threading

from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestStatus

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.errors import translation

INTERVAL = 0.02
"""Seconds between parts of one answer: fifty a second read as a stream, and what is sent for each
token would cost small models more than the token. The first and the last part do not wait."""

ENDED = (RequestStatus.FINISHED, RequestStatus.FAILED)


class TokenStream:
    """One task of many, from its first token to its last."""

    def __init__(self, prompt_tokens: int) -> None:
        self._arrived = asyncio.Event()
        self._output: GenerationOutput | None = None
        self._error: Exception | None = None
        self._interrupted = False
        self._prompt_tokens = prompt_tokens
        self._taken = 0
        self._cached: int | None = None

    @property
    def cached(self) -> int:
        """How many of the prompt's tokens were not read, because another text had left them."""
        return self._cached or 0

    @property
    def begun(self) -> bool:
        """Whether anything has been delivered."""
        return self._output is not None

    @property
    def ended(self) -> bool:
        """Whether `new_tokens` has returned the last of them, though the text may go on."""
        finished = self._output is not None and self._output.status == RequestStatus.FINISHED
        return finished or self._interrupted

    @property
    def length(self) -> int:
        """Tokens of its text so far, the prompt's included."""
        return self._prompt_tokens + (len(self._output.generated_tokens) if self._output else 0)

    async def new_tokens(self) -> list[int]:
        """Wait for tokens and return all that have arrived; none if it was interrupted.

        Raises:
            EngineOutOfMemory, DeviceLost: as those say; what generates is of no use then.
            TaskError: INTERNAL if generation failed otherwise, SHUTTING_DOWN
                if the model is being unloaded.
        """
        await self._arrived.wait()
        self._arrived.clear()
        if self._error is not None:
            raise self._error
        if self._output is None:
            return []
        new: list[int] = self._output.generated_tokens[self._taken :]
        self._taken += len(new)
        return new

    def note_cached(self, tokens: int) -> None:
        """Note how many tokens there were when it began; called again, it changes nothing."""
        if self._cached is None:
            self._cached = tokens

    def deliver(self, output: GenerationOutput) -> None:
        """Take what was generated so far, which replaces what came before."""
        self._output = output
        if output.status == RequestStatus.FAILED:
            self.fail(_failure(output.error or "no reason given"))
        self._arrived.set()

    def interrupt(self) -> None:
        """Let it have ended where it is; its task goes on elsewhere."""
        self._interrupted = True
        self._arrived.set()

    def fail(self, error: Exception) -> None:
        """Let `new_tokens` raise `error`."""
        self._error = error
        self._arrived.set()


class TokenStreams(OutputRouter):  # type: ignore[misc]
    """Hands outputs to their tasks, in the event loop, and drops those of cancelled tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: dict[str, GenerationOutput] = {}
        self._handed_out_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.running: dict[str, TokenStream] = {}

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

    def begin(self, name: str, cached: int) -> None:
        """Let a stream know how much of its text the cache held; called in the thread."""
        stream = self.running.get(name)
        if stream is not None:
            stream.note_cached(cached)

    def name_of(self, stream: TokenStream) -> str | None:
        """Return the name under which `stream` runs, `None` if it has ended."""
        return next((name for name, one in self.running.items() if one is stream), None)

    def fail_all(self, reason: str) -> None:
        """End all tasks, for a reason that is the thread's."""
        for stream in self.running.values():
            stream.fail(_failure(reason))
        self.running.clear()

    def shut_down(self) -> None:
        """End all tasks because the model is being unloaded."""
        for stream in self.running.values():
            stream.fail(
                TaskError(pb.SHUTTING_DOWN, "the model is being unloaded", "send the task again")
            )
        self.running.clear()

    def interrupt_all(self) -> None:
        """Let all tasks go on elsewhere from what has been delivered."""
        self._hand_out_all()
        for stream in self.running.values():
            stream.interrupt()
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
        if self.running and self._timer is None:
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
            stream = self.running.get(name)
            if stream is None:
                continue
            if output.status in ENDED:
                del self.running[name]
            stream.deliver(output)
        if not self.running:
            self._forget_the_rest()

    def _forget_the_rest(self) -> None:
        """Leave nothing behind, of tasks that have ended, for those that begin later."""
        with self._lock:
            self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _failure(reason: str) -> Exception:
    """Return an exception for what the thread reports only as a string."""
    error = translation(RuntimeError(reason))
    if not isinstance(error, RuntimeError):
        return error
    return TaskError(
        pb.INTERNAL, f"generation failed: {reason}", "the worker's log has the traceback"
    )
