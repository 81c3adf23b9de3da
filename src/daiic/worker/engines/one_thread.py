"""A thread that does one thing after another, and that the end of the process does not wait for."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class OneThread:
    """Like a ThreadPoolExecutor of one worker, but a daemon.

    The interpreter waits at its end for an executor's threads, however long the
    model takes that one of them loads.
    """

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def submit(self, work: Callable[[], Answer]) -> "Future[Answer]":
        """Have `work` done after all that was submitted before."""
        future: Future[Answer] = Future()
        self._queue.put((future, work))
        return future

    async def do(self, work: Callable[[], Answer]) -> Answer:
        """Have `work` done after all that was submitted before, and return what it returns."""
        return await asyncio.wrap_future(self.submit(work))

    def stop(self) -> None:
        """End the thread after what was submitted."""
        self._queue.put(None)

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            # An idle thread must not hold the last answer, or what it was made from.
            del item, future, work
