"""A diffusers pipeline in memory that answers image tasks, one after another.

torch runs in one thread that the engine owns. The event loop learns of each
step from there, and a task that nobody waits for any more ends at its next step.
"""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.asked_adapters import scales_of
from daiic.worker.engines.diffusers.drawers import Drawers
from daiic.worker.engines.diffusers.loras import Loras, Scales
from daiic.worker.engines.diffusers.preview import Previews
from daiic.worker.engines.diffusers.probe import capabilities
from daiic.worker.engines.diffusers.request import Abilities, ImageRequest, read_request
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.torch.errors import translated


class ImageEngine:
    """An `Engine` of one pipeline.

    `thread` is the one in which the pipeline of `drawers` was loaded. Tasks queue for it in
    the order in which they came.
    """

    library = "diffusers"
    choice = "a pipeline that makes images from text"
    model_kind = pb.IMAGE
    alive = True

    def __init__(
        self,
        drawers: Drawers,
        loras: Loras,
        abilities: Abilities,
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
        self.capabilities = capabilities(can_edit=drawers.can_edit, adapts=bool(loras.names))
        self.adapters = loras.names
        self._loras: Loras | None = loras
        self._drawers: Drawers | None = drawers
        self._abilities = abilities
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

        Previews come in parts of their own, before that of the step after which they were made.

        An image's seed alone, not its place among the task's, decides how it looks.

        Raises:
            TaskError: BAD_REQUEST for parameters out of bounds or an image that
                the model's own safety checker withholds; CANCELLED by `close`.
            EngineOutOfMemory, DeviceLost: as those say.
        """
        request = await in_thread(lambda: read_request(task.image, self._abilities))
        loras = self._loras
        if self._closed or loras is None:
            raise _closed()
        scales = scales_of(task.adapters, loras.names, loras.unusable)
        if not task.stream:
            request = replace(request, previews=0)
        total = request.steps_drawn * len(request.seeds)
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[int | pb.Preview | None] = asyncio.Queue()
        stop = threading.Event()
        if not self._stops:
            self._stepped_at = time.monotonic()
        self._stops.add(stop)

        def report(news: int | pb.Preview) -> None:
            loop.call_soon_threadsafe(told.put_nowait, news)

        drawing = asyncio.wrap_future(
            self._thread.submit(lambda: self._draw(request, scales, report, stop))
        )
        drawing.add_done_callback(lambda _: told.put_nowait(None))
        try:
            steps = 0
            while (news := await told.get()) is not None:
                if isinstance(news, pb.Preview):
                    yield pb.Result(previews=[news])
                # Schedulers of higher order call more often than there are steps.
                elif task.stream and news > steps:
                    steps = news
                    yield pb.Result(progress=pb.Progress(phase="steps", done=steps, total=total))
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
        self,
        request: ImageRequest,
        scales: Scales,
        report: Callable[[int | pb.Preview], None],
        stop: threading.Event,
    ) -> list[pb.Image]:
        images = []
        if self._loras is not None:
            self._loras.apply(scales)
        for index, seed in enumerate(request.seeds):
            before = index * request.steps_drawn

            def stepped(done: int, before: int = before) -> None:
                if stop.is_set():
                    raise _closed()
                self._stepped_at = time.monotonic()
                report(before + min(done, request.steps_drawn))

            def show(number: int, image: Image.Image, index: int = index) -> None:
                media = request.encoding.media(image)
                report(pb.Preview(image=index, number=number, media=media))

            if stop.is_set():
                raise _closed()
            drawn = self._draw_one(request, seed, stepped, show)
            images.append(request.encoding.image(drawn, seed))
        return images

    def _draw_one(
        self,
        request: ImageRequest,
        seed: int,
        stepped: Callable[[int], None],
        show: Callable[[int, Image.Image], None],
    ) -> Image.Image:
        drawers, canvas = self._drawers, request.canvas
        assert drawers is not None
        if canvas is not None and not request.steps_drawn:
            return canvas.image
        drawer = drawers.of(canvas)
        previews = Previews(drawer.pipeline, request, show)

        def after_step(done: int, timestep: Any, latents: Any) -> None:
            previews.stepped(done, timestep, latents)
            stepped(done)

        put_back = False
        try:
            drawn = drawer.pipeline(**drawer.calling.arguments(request, seed, after_step))
            put_back = drawer is drawers.from_text
        finally:
            # An offloading pipeline returns its parts to RAM only when it ends well, and only
            # the one that was placed knows of them.
            if not put_back:
                drawers.from_text.pipeline.maybe_free_model_hooks()
        if any(getattr(drawn, "nsfw_content_detected", None) or ()):
            raise TaskError(
                pb.BAD_REQUEST,
                "the model's safety checker withheld the image",
                "change the prompt or the seed",
            )
        image: Image.Image = drawn.images[0]
        return image if canvas is None else canvas.keep_rest(image)

    def _release(self) -> None:
        if self._drawers is not None:
            self._drawers.from_text.pipeline.remove_all_hooks()
        self._drawers = self._loras = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _closed() -> TaskError:
    return TaskError(pb.CANCELLED, "the image was abandoned", "send the task again")
