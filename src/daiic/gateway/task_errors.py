"""What a client is told when its task ends without an answer."""

from collections.abc import Iterable

from daiic.errors import TaskError
from daiic.gateway.http.errors import INVALID, OVERLOADED, SERVER, ApiError, ErrorType
from daiic.wire import daiic_pb2 as pb

_STATUS: dict[int, tuple[int, ErrorType]] = {
    pb.BAD_REQUEST: (400, INVALID),
    pb.UNSUPPORTED: (400, INVALID),
    pb.QUEUE_FULL: (429, OVERLOADED),
    pb.NO_WORKER: (503, OVERLOADED),
    pb.MODEL_NOT_FOUND: (404, INVALID),
    pb.MODEL_GATED: (403, "permission_error"),
    pb.UNSAFE_WEIGHTS: (400, INVALID),
    pb.OUT_OF_MEMORY: (503, OVERLOADED),
    pb.DEADLINE_EXCEEDED: (504, SERVER),
    pb.CANCELLED: (503, SERVER),
    pb.WORKER_LOST: (502, SERVER),
    pb.SHUTTING_DOWN: (503, OVERLOADED),
    pb.HEAD_UNREACHABLE: (503, OVERLOADED),
}
_ABOUT_THE_MODEL = frozenset(
    {pb.MODEL_NOT_FOUND, pb.MODEL_GATED, pb.UNSAFE_WEIGHTS, pb.UNSUPPORTED}
)
_WORTH_RETRYING = frozenset({pb.QUEUE_FULL, pb.NO_WORKER, pb.SHUTTING_DOWN, pb.HEAD_UNREACHABLE})


def from_task(error: TaskError, known_models: Iterable[str], retry_after: int) -> ApiError:
    """Return what a client is told when its task ended with `error`.

    `known_models` are listed if the model is not found. If trying again may
    help, the client is advised to do so after `retry_after` seconds.
    """
    status, type = _STATUS.get(error.code, (500, SERVER))
    message = str(error)
    if error.code == pb.MODEL_NOT_FOUND:
        listed = ", ".join(known_models)
        message += f". Models here: {listed}" if listed else ". No worker has a model yet"
    return ApiError(
        status,
        message,
        type=type,
        param="model" if error.code in _ABOUT_THE_MODEL else None,
        code=error.name.lower(),
        retry_after=retry_after if error.code in _WORTH_RETRYING else None,
    )
