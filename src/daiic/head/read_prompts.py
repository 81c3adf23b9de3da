"""What one worker has read lately, as far as this head knows.

A worker keeps what it has computed of prompts, and reads only what is new of
one that begins alike. How long it keeps that it tells nobody: heads remember the
latest blocks, and learn from what answers tell of their prompts how far that holds.
"""

from collections.abc import Container, Sequence

from daiic.prompt_blocks import ENDS


class _Model:
    """A model that has read something; `kept` is how much of that is still there, from 0 to 1.

    `pace` is how many seconds a unit of `Job.reading` takes, 0 if that was not measured.
    """

    __slots__ = ("kept", "pace")

    def __init__(self) -> None:
        self.kept = 1.0
        self.pace = 0.0


class ReadPrompts:
    """The blocks that a worker has read of late, `most` of them at most.

    There are two generations: what was read since the younger one began, and
    before that. When the younger one has half of `most`, the older one is forgotten.
    """

    __slots__ = ("_half", "_models", "_older", "_younger")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._models: dict[str, _Model] = {}
        self._younger: dict[bytes, _Model] = {}
        self._older: dict[bytes, _Model] = {}

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def note(self, name: str, hashes: Sequence[bytes]) -> None:
        """Note that the model `name` has read a prompt with these blocks."""
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _Model()
        if len(self._younger) + len(hashes) > self._half:
            self._older, self._younger = self._younger, {}
        for block in hashes:
            self._older.pop(block, None)
            self._younger[block] = model

    def read(self, name: str, hashes: Sequence[bytes]) -> int:
        """Return how many bytes of a prompt with these blocks the model `name` has read.

        Each hash is of all the blocks up to its own, so who has read one has read those before.
        """
        model = self._models.get(name)
        if model is None or not hashes:
            return 0
        younger, older = self._younger, self._older
        first = hashes[0]
        if younger.get(first) is not model and older.get(first) is not model:
            return 0
        read, most = 1, len(hashes)
        while read < most:
            middle = (read + most + 1) // 2
            block = hashes[middle - 1]
            if younger.get(block) is model or older.get(block) is model:
                read = middle
            else:
                most = middle - 1
        return ENDS[read - 1]

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
