"""Tasks for the worker stub, as the shim's clients set them."""

from daiic.wire import daiic_pb2 as pb


def words(prompt: str, task_id: int = 0) -> pb.Task:
    """A task that is answered with its prompt, word by word."""
    return pb.Task(id=task_id, model="words", stream=True, text=pb.TextTask(prompt=prompt))


def large(size: int, task_id: int = 0) -> pb.Task:
    """A task that is answered with `size` bytes in one part."""
    return pb.Task(id=task_id, model="large", stream=True, text=pb.TextTask(max_tokens=size))
