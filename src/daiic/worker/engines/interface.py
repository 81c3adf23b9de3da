"""What the worker expects of a loaded model, whatever library runs it."""

from collections.abc import AsyncGenerator
from typing import Protocol

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb


class ModelRefused(TaskError):
    """A model has shown that it must not be used on this worker; its code moves no task."""


class Engine(Protocol):
    """A model in memory that answers tasks.

    `kind` says which tasks; `quantization` ("none", "8bit", "4bit") and
    `placement` ("gpu", "gpu+ram", "ram") are what is in force, and `fallback`
    says why that is less than was asked for or possible, or is empty.
    """

    kind: pb.ModelKind
    quantization: str
    placement: str
    fallback: str

    @property
    def footprint(self) -> int:
        """The memory that it holds now, in bytes."""

    @property
    def stalled_for(self) -> float:
        """Seconds since the last step while there is work; 0 while there is none."""

    def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Answer `task` in parts, the last one `final`; closing the generator cancels it.

        `id`, `index` and `worker_id` are left to the caller. Tasks may run at
        the same time.

        Raises:
            TaskError: if the task cannot be answered, in words for its sender.
            ModelRefused: if the model must not be used any more.
            torch.OutOfMemoryError: if memory ran out; the engine cannot be
                used after that, and the task may be tried on another one.
        """

    async def close(self) -> None:
        """Cancel what runs and give the memory back."""
