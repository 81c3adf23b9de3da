"""What the engine of a language model sees with: a processor, and a generator for what it makes."""

from collections.abc import Callable, Sequence

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.transformers_text.text_generator import TextGenerator
from daiic.worker.engines.transformers_vision.processor import Processor
from daiic.worker.engines.transformers_vision.seen import Seen
from daiic.worker.media.images import all_decoded


class Seeing:
    """Prepares conversations with images one after another, and generates their answers."""

    def __init__(self, processor: Processor, new_generator: Callable[[], TextGenerator]) -> None:
        """`new_generator` makes one when there is none yet, or its thread has ended."""
        self._processor = processor
        self._new_generator = new_generator
        self._generator: TextGenerator | None = None
        # Images are decoded one conversation at a time: that bounds what they take.
        self._thread = OneThread("images")

    @property
    def generator(self) -> TextGenerator:
        """What generates for texts with images."""
        if self._generator is None or not self._generator.alive:
            self._generator = self._new_generator()
        return self._generator

    @property
    def bytes(self) -> int:
        """Memory that its caches take now."""
        return self._generator.bytes if self._generator is not None else 0

    @property
    def stalled_for(self) -> float:
        """Seconds since its last step while there is work; 0 while there is none."""
        return self._generator.stalled_for if self._generator is not None else 0.0

    async def seen(self, text: str, images: Sequence[pb.Media]) -> Seen:
        """Return what the model reads of `text`, with places for these `images`.

        Raises:
            TaskError: BAD_REQUEST for images that cannot be taken.
        """
        return await self._thread.do(lambda: self._processor(text, all_decoded(images)))

    async def close(self) -> None:
        """End what runs and give the memory back."""
        self._thread.stop()
        if self._generator is not None:
            await self._generator.close()
