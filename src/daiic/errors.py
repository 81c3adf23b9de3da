"""The errors that a task can end with, for every part of the cluster.

`TaskError` is what Python raises; `daiic_pb2.Error` is the same on the wire.
"""

from daiic.wire import daiic_pb2 as pb

MAX_TEXT = 2000
"""Characters of a message or a remedy; what a file or a library says may be of any length."""


class TaskError(Exception):
    """A task ended without an answer.

    `code` is one of `daiic_pb2.ErrorCode`; `message` says in one sentence
    what happened, `remedy` what the reader can do about it.
    """

    def __init__(self, code: pb.ErrorCode, message: str, remedy: str = "") -> None:
        super().__init__(code, message, remedy)
        self.code = code
        self.message = _text(message)
        self.remedy = _text(remedy)

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message

    @property
    def name(self) -> str:
        """The code's name, as logs, metrics and documents spell it.

        A newer peer may send a code that has no name here.
        """
        try:
            return pb.ErrorCode.Name(self.code)
        except ValueError:
            return f"ERROR_CODE_{self.code}"

    def to_wire(self, task_id: int) -> pb.Error:
        """Return the ERROR payload that ends the task `task_id`."""
        return pb.Error(id=task_id, code=self.code, message=self.message, remedy=self.remedy)

    @classmethod
    def from_wire(cls, error: pb.Error) -> "TaskError":
        """Return what an ERROR payload says."""
        return cls(error.code, error.message, error.remedy)


def _text(said: str) -> str:
    """Return `said` as heartbeats and ERRORs can hold it: without halves of surrogate pairs."""
    said = said if len(said) <= MAX_TEXT else f"{said[:MAX_TEXT]}…"
    return said.encode("utf-8", "replace").decode("utf-8")
