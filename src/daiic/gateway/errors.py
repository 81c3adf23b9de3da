"""Errors as OpenAI's clients expect them: a status, and a body with message, type, param, code."""

from collections.abc import Iterable

import msgspec

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

INVALID = "invalid_request_error"
OVERLOADED = "overloaded_error"
SERVER = "server_error"

BODY_LATE = 408
CLIENT_GONE = 499
"""The status under which logs and metrics count requests whose client left."""

_STATUS: dict[int, tuple[int, str]] = {
    pb.BAD_REQUEST: (400, INVALID),
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
_ABOUT_THE_MODEL = frozenset({pb.MODEL_NOT_FOUND, pb.MODEL_GATED, pb.UNSAFE_WEIGHTS})
_WORTH_RETRYING = frozenset({pb.QUEUE_FULL, pb.NO_WORKER, pb.SHUTTING_DOWN, pb.HEAD_UNREACHABLE})


class ErrorDetail(msgspec.Struct, frozen=True):
    """What is wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class ApiError(Exception):
    """A request that ends without an answer.

    `status` is HTTP's; `param` names the field at fault; `retry_after` is in
    seconds.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.detail = ErrorDetail(message, kind, param, code)
        self.retry_after = retry_after

    @property
    def body(self) -> bytes:
        """The error as JSON."""
        return msgspec.json.encode(ErrorBody(self.detail))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer's header says about the error."""
        headers = []
        if self.retry_after is not None:
            headers.append((b"retry-after", str(self.retry_after).encode()))
        if self.status == BODY_LATE:  # the rest may never come
            headers.append((b"connection", b"close"))
        return headers


def from_task(error: TaskError, known_models: Iterable[str], retry_after: int) -> ApiError:
    """Return what a client is told when its task ended with `error`.

    `known_models` are listed if the model is not; `retry_after` is what to
    advise, in seconds, if the error may pass.
    """
    status, kind = _STATUS.get(error.code, (500, SERVER))
    message = str(error)
    if error.code == pb.MODEL_NOT_FOUND:
        listed = ", ".join(known_models)
        message += f". Models here: {listed}" if listed else ". No worker has a model yet"
    return ApiError(
        status,
        message,
        kind=kind,
        param="model" if error.code in _ABOUT_THE_MODEL else None,
        code=error.name.lower(),
        retry_after=retry_after if error.code in _WORTH_RETRYING else None,
    )


def unsupported(param: str, why: str) -> ApiError:
    """Return the refusal of a parameter that this cluster cannot honour."""
    return ApiError(400, f"{param}: {why}", param=param, code="unsupported_parameter")
