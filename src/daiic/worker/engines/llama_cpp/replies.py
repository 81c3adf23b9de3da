"""What llama-server sends: whole replies, streams of events, and refusals."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineOutOfMemory

MAX_LINE = 1 << 20
"""Bytes of one event."""
MAX_REPLY = 512 << 20
"""Bytes of a reply that is no stream: embeddings of many texts are the longest."""
_FULL = "Context size has been exceeded"
"""It fails all its tasks then; they were let in so that it does not come to that."""


async def whole(response: httpx.Response) -> bytes:
    """Return the content of `response`.

    Raises:
        TaskError: INTERNAL if it is longer than MAX_REPLY.
    """
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_REPLY:
            raise broken(f"its reply is longer than {MAX_REPLY} bytes")
    return bytes(content)


def parsed(content: bytes) -> Any:
    """Return the JSON in `content`.

    Raises:
        TaskError: INTERNAL if it is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise broken("its reply is no JSON") from None


async def events(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the data of server-sent events; httpx's lines would end at more than line feeds."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            kind, _, data = line.partition(b": ")
            if kind == b"error" or (kind == b"data" and data != b"[DONE]"):
                yield data
        if len(rest) > MAX_LINE:
            raise broken("an event has no end")


def broken(why: str) -> TaskError:
    """Return the error of a server that does not keep to its protocol."""
    return TaskError(pb.INTERNAL, f"llama-server broke off: {why}", "send the task again")


def refusal(content: bytes) -> Exception:
    """Return the error that `content` tells: a TaskError, or an EngineOutOfMemory."""
    try:
        error = json.loads(content)["error"]
        code, message = int(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message = 500, content[:200].decode("utf-8", "replace")
    if _FULL in message:
        return EngineOutOfMemory("llama-server's cache was too small for its tasks")
    if code == 400:
        return TaskError(pb.BAD_REQUEST, f"llama.cpp refuses the task: {message}", "change it")
    return TaskError(pb.INTERNAL, f"llama.cpp failed: {message}", "send the task again")
