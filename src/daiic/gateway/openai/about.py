"""What every event of an answer repeats: its id, when it was asked for, and the model."""

import time

from daiic.wire import daiic_pb2 as pb


class About:
    """Of the answers to one request, which may come from another model than the one asked for."""

    __slots__ = ("_asked", "_others")

    def __init__(self, answer_id: str, model: str) -> None:
        self._asked = (answer_id, int(time.time()), model)
        self._others: dict[int, str] = {}
        """The models that answer in its place, by the index of the answer."""

    def note(self, index: int, part: pb.Result) -> None:
        """Note who makes an answer, which its first part tells."""
        if part.model_name:
            self._others[index] = part.model_name

    def of(self, index: int) -> tuple[str, int, str]:
        """Return the id, the time and the model of the answer `index`."""
        if not self._others:
            return self._asked
        answer_id, created, asked = self._asked
        return answer_id, created, self._others.get(index, asked)
