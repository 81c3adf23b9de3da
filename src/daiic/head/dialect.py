"""The two languages that clients speak: Protocol Buffers, and their canonical JSON."""

import json
import re
from typing import Protocol

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from daiic.errors import TaskError
from daiic.head.limits import LIMITS
from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from daiic.wire.payload import MAX_FIELDS, SURELY_CHEAP, Pieces, id_in, split

Answer = tuple[MessageType, bytes]

NOTHING: Pieces = ()

# Shims put it there, so it is found in what is too large to be parsed.
_LEADING_ID = re.compile(rb'\{\s*"id"\s*:\s*"?([0-9]{1,20})"?\s*[,}]')

# All of the oneof: each field of it that comes voids those of other numbers before it.
_WORK = frozenset(field.number for field in pb.Task.DESCRIPTOR.oneofs_by_name["work"].fields)


class Dialect(Protocol):
    """How a client's task was written, and how its answer will be."""

    encodes: bool
    """Whether its results are encoded as workers' are."""

    def read(self, payload: bytes) -> tuple[pb.Task, Pieces]:
        """Return the task in `payload`, and its work as it came if that is large, see `split`.

        Raises:
            TaskError: BAD_REQUEST that says what is wrong with it.
        """

    def result(self, part: pb.Result, aside: Pieces = NOTHING) -> Answer:
        """Return the message that carries `part`, of which `aside` is encoded already."""

    def error(self, error: TaskError, task_id: int, index: int) -> Answer:
        """Return the message that ends the task; `index` is that of the next RESULT."""

    def id_in(self, payload: bytes) -> int:
        """Return the id in a `payload` that cannot be read as a task, 0 if it has none."""


class Protobuf:
    """Binary; errors are ERROR messages."""

    encodes = True

    def read(self, payload: bytes) -> tuple[pb.Task, Pieces]:
        """See `Dialect`."""
        try:
            return split(pb.Task, payload, _WORK)
        except DecodeError:
            raise TaskError(
                pb.BAD_REQUEST,
                "the TASK's payload is not a Protocol Buffers message, or has too many fields",
                "encode a daiic.v1.Task of daiic.proto, or send its JSON form",
            ) from None

    def result(self, part: pb.Result, aside: Pieces = NOTHING) -> Answer:
        """See `Dialect`."""
        payload = part.SerializeToString()
        return MessageType.RESULT, b"".join((*aside, payload)) if aside else payload

    def error(self, error: TaskError, task_id: int, index: int) -> Answer:
        """See `Dialect`."""
        return MessageType.ERROR, error.to_wire(task_id).SerializeToString()

    def id_in(self, payload: bytes) -> int:
        """See `Dialect`."""
        return id_in(payload)


class Json:
    """Text; errors are RESULTs with `error` set, so that one message type suffices."""

    encodes = False

    def read(self, payload: bytes) -> tuple[pb.Task, Pieces]:
        """See `Dialect`."""
        try:
            if len(payload) > SURELY_CHEAP and _values_in(json.loads(payload)) > MAX_FIELDS:
                raise json_format.ParseError("it has too many values")
            return json_format.Parse(payload, pb.Task()), NOTHING
        except (json_format.ParseError, ValueError, RecursionError) as error:
            reason = str(error).split("\n")[0].rstrip(". ")
            raise TaskError(
                pb.BAD_REQUEST,
                f"the JSON task cannot be read: {reason}",
                "write it as the JSON form of daiic.v1.Task in daiic.proto",
            ) from None

    def result(self, part: pb.Result, aside: Pieces = NOTHING) -> Answer:
        """See `Dialect`."""
        assert not aside
        return MessageType.RESULT, _compact(part)

    def error(self, error: TaskError, task_id: int, index: int) -> Answer:
        """See `Dialect`."""
        part = pb.Result(id=task_id, index=index, final=True, error=error.to_wire(task_id))
        return MessageType.RESULT, _compact(part)

    def id_in(self, payload: bytes) -> int:
        """See `Dialect`."""
        leading = _LEADING_ID.match(payload)
        if leading is None and len(payload) > LIMITS.json_task:
            return 0
        try:
            task_id = int(leading[1] if leading else json.loads(payload).get("id", 0))
        except (ValueError, TypeError, OverflowError, RecursionError):
            return 0
        return task_id if 0 <= task_id < 1 << 64 else 0


def _values_in(data: object) -> int:
    """Return how many values there are in decoded JSON, at any depth."""
    count, left = 0, [data]
    while left:
        value = left.pop()
        count += 1
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return count


def _compact(part: pb.Result) -> bytes:
    return json_format.MessageToJson(part, indent=None, ensure_ascii=False).encode()


PROTOBUF = Protobuf()
JSON = Json()


def dialect_of(payload: bytes) -> Dialect:
    """Return the language of a TASK's payload; no Task in binary begins with "{"."""
    return JSON if payload[:1] == b"{" else PROTOBUF
