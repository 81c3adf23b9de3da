"""A diffusers pipeline in memory that answers image tasks, one after another.

torch runs in one thread that the engine owns. The event loop learns of each
step from there, and a task that nobody waits for any more ends at its next step.
"""

import asyncio
import gc
import io
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.calling import Calling
from daiic.worker.engines.diffusers.probe import CAPABILITIES
from daiic.worker.engines.diffusers.request import Abilities, ImageRequest, read_request
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.errors import translated


class ImageEngine:
    """An `Engine` of one pipeline.

    `thread` is the one in which `pipeline` was loaded. Tasks queue for it in
    the order in which they came.
    """

    library = "diffusers"
    choice = "a pipeline that makes images from text"
    model_kind = pb.IMAGE
    capabilities = CAPABILITIES
    alive = True

    def __init__(
        self,
        pipeline: Any,
        abilities: Abilities,
        calling: Calling,
        thread: OneThread,
        *,
        footprint: int,
        quantization: str,
        precision: str,
        placement: str,
        fallback: str,
    ) -> None:
        self.footprint = footprint
        self.quantization = quantization
        self.precision = precision
        self.placement = placement
        self.fallback = fallback
        self._pipeline = pipeline
        self._abilities = abilities
        self._calling = calling
        self._thread = thread
        self._stops: set[threading.Event] = set()
        self._stepped_at = 0.0
        self._closed = False

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""
        return time.monotonic() - self._stepped_at if self._stops else 0.0

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Draw the images of `task`: parts with progress if it streams, then one with the images.

        An image's seed alone, not its place among the task's, decides how it looks.

        Raises:
            TaskError: BAD_REQUEST for parameters out of bounds or an image that
                the model's own safety checker withholds; CANCELLED by `close`.
            EngineOutOfMemory, DeviceLost: as those say.
        """
        request = read_request(task.image, self._abilities)
        if self._closed:
            raise _closed()
        total = request.steps * len(request.seeds)
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[int | None] = asyncio.Queue()
        stop = threading.Event()
        if not self._stops:
            self._stepped_at = time.monotonic()
        self._stops.add(stop)

        def report(done: int) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, done)

        drawing = asyncio.wrap_future(
            self._thread.submit(lambda: self._draw(request, report, stop))
        )
        drawing.add_done_callback(lambda _: steps.put_nowait(None))
        try:
            told = 0
            while (done := await steps.get()) is not None:
                # Schedulers of higher order call more often than there are steps.
                if task.stream and done > told:
                    told = done
                    yield pb.Result(progress=pb.Progress(phase="steps", done=done, total=total))
            with translated():
                images = await drawing
            yield pb.Result(final=True, images=images)
        finally:
            stop.set()
            drawing.cancel()
            self._stops.discard(stop)

    async def close(self) -> None:
        """Cancel what runs or waits, and give the memory back."""
        self._closed = True
        for stop in self._stops:
            stop.set()
        released = self._thread.submit(self._release)
        self._thread.stop()
        await asyncio.wrap_future(released)

    def _draw(
        self, request: ImageRequest, report: Callable[[int], None], stop: threading.Event
    ) -> list[pb.Image]:
        images = []
        for index, seed in enumerate(request.seeds):
            before = index * request.steps

            def stepped(done: int, before: int = before) -> None:
                if stop.is_set():
                    raise _closed()
                self._stepped_at = time.monotonic()
                report(before + min(done, request.steps))

            if stop.is_set():
                raise _closed()
            images.append(pb.Image(png=self._draw_one(request, seed, stepped), seed=seed))
        return images

    def _draw_one(self, request: ImageRequest, seed: int, stepped: Callable[[int], None]) -> bytes:
        try:
            drawn = self._pipeline(**self._calling.arguments(request, seed, stepped))
        except BaseException:
            # An offloading pipeline returns its parts to RAM only when it ends well.
            self._pipeline.maybe_free_model_hooks()
            raise
        if any(getattr(drawn, "nsfw_content_detected", None) or ()):
            raise TaskError(
                pb.BAD_REQUEST,
                "the model's safety checker withheld the image",
                "change the prompt or the seed",
            )
        png = io.BytesIO()
        drawn.images[0].save(png, "PNG")
        return png.getvalue()

    def _release(self) -> None:
        self._pipeline.remove_all_hooks()
        self._pipeline = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _closed() -> TaskError:
    return TaskError(pb.CANCELLED, "the image was abandoned", "send the task again")
