"""What one worker has read lately, as far as this head knows.

A worker keeps what it has computed of prompts, and reads only what is new of
one that begins alike. How much it can keep it may tell; heads take it that what was of use
least recently goes first. They remember the latest blocks anyhow, and learn from
what answers tell of their prompts how far all that holds.
"""

from collections.abc import Container, Sequence

from daiic.prompt_blocks import ENDS

SIZES = tuple(end - begin for begin, end in zip((0, *ENDS), ENDS, strict=False))


class _Reading:
    """The reading of one prompt, of which `blocks` with so many `bytes` were not read again since.

    `model` has read it, `None` once that must have forgotten it.
    """

    __slots__ = ("blocks", "bytes", "model")

    def __init__(self, model: "_Model") -> None:
        self.model: _Model | None = model
        self.blocks = 0
        self.bytes = 0


class _Model:
    """A model that has read something; `kept` is how much of that is still there, from 0 to 1.

    `pace` is how many seconds a unit of `Job.reading` takes, 0 if that was not measured.
    `readings` are those that may still be there, the oldest first, of `bytes` in all.
    """

    __slots__ = ("bytes", "kept", "pace", "readings")

    def __init__(self) -> None:
        self.kept = 1.0
        self.pace = 0.0
        self.bytes = 0
        self.readings: dict[_Reading, None] = {}

    def read(self) -> _Reading:
        """Return a reading that begins."""
        reading = _Reading(self)
        self.readings[reading] = None
        return reading

    def forget_beyond(self, room: int) -> None:
        """Forget the oldest readings that are more than `room` bytes together, but not the last."""
        while self.bytes > room and len(self.readings) > 1:
            self._forget(next(iter(self.readings)))

    def drop(self, reading: _Reading, size: int) -> None:
        """Note that one of its blocks, which has `size` bytes, is part of it no more."""
        reading.blocks -= 1
        reading.bytes -= size
        self.bytes -= size
        if not reading.blocks:
            self._forget(reading)

    def _forget(self, reading: _Reading) -> None:
        self.bytes -= reading.bytes
        reading.model = None
        del self.readings[reading]


class ReadPrompts:
    """The blocks that a worker has read of late, `most` of them at most.

    There are two generations: what was read since the younger one began, and
    before that. When the younger one has half of `most`, the older one is forgotten. Blocks
    have the last reading that they were part of.
    """

    __slots__ = ("_half", "_models", "_older", "_younger")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._models: dict[str, _Model] = {}
        self._younger: dict[bytes, tuple[_Reading, int]] = {}
        self._older: dict[bytes, tuple[_Reading, int]] = {}

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def note(self, name: str, hashes: Sequence[bytes], room: int = 0) -> None:
        """Note that the model `name` has read a prompt with these blocks.

        It can keep `room` bytes of prompts, as many as it likes if that is 0.
        """
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _Model()
        if len(self._younger) + len(hashes) > self._half:
            for aged in self._older.values():
                _drop(aged)
            self._older, self._younger = self._younger, {}
        reading = model.read()
        for block, size in zip(hashes, SIZES, strict=False):
            entry = self._younger.get(block)
            if entry is None:
                entry = self._older.pop(block, None)
            if entry is not None:
                if entry[0] is reading:  # hashes that are no prompt's
                    continue
                _drop(entry)
            self._younger[block] = reading, size
            reading.blocks += 1
            reading.bytes += size
            model.bytes += size
        if room:
            model.forget_beyond(room)

    def read(self, name: str, hashes: Sequence[bytes]) -> int:
        """Return how many bytes of a prompt with these blocks the model `name` has read.

        Each hash is of all the blocks up to its own, so who has read one has read those before.
        """
        model = self._models.get(name)
        if model is None or not hashes or not self._has(model, hashes[0]):
            return 0
        read, most = 1, len(hashes)
        while read < most:
            middle = (read + most + 1) // 2
            if self._has(model, hashes[middle - 1]):
                read = middle
            else:
                most = middle - 1
        return ENDS[read - 1]

    def _has(self, model: _Model, block: bytes) -> bool:
        entry = self._younger.get(block) or self._older.get(block)
        return entry is not None and entry[0].model is model

    def kept(self, name: str) -> float:
        """Return how much of what the model `name` has read is still there, from 0 to 1.

        That is as much as it was of late, when all was thought to be there.
        """
        model = self._models.get(name)
        return model.kept if model is not None else 0.0

    def learn(self, name: str, kept: float) -> None:
        """Note how much was still there, from 0 to 1."""
        model = self._models.get(name)
        if model is not None:
            model.kept = (model.kept + kept) / 2

    def pace(self, name: str) -> float:
        """Return in how many seconds the model `name` reads a unit, 0 if that was not measured."""
        model = self._models.get(name)
        return model.pace if model is not None else 0.0

    def learn_pace(self, name: str, pace: float) -> None:
        """Note how many seconds it took to read a unit."""
        model = self._models.get(name)
        if model is not None:
            model.pace = (model.pace + pace) / 2 if model.pace else pace

    def forget_all_but(self, names: Container[str]) -> None:
        """Forget what other models than these have read.

        Their blocks stay until they have aged, but are nobody's.
        """
        for name in [name for name in self._models if name not in names]:
            del self._models[name]


def _drop(entry: tuple[_Reading, int]) -> None:
    reading, size = entry
    if reading.model is not None:
        reading.model.drop(reading, size)
