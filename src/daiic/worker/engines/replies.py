"""What a model's server sends over HTTP: whole replies, streams of events, and refusals."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx

from daiic.errors import TaskError
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

MAX_LINE = 1 << 20
"""Bytes of one event."""
MAX_REPLY = 512 << 20
"""Bytes of a reply that is no stream: embeddings of many texts are the longest."""
DONE = b"[DONE]"
"""The last event of a whole stream."""
_SHOWN = 300
"""Characters of a refusal."""


@dataclass(frozen=True, slots=True)
class Replies:
    """Reads them; `server` is what errors call the program that sends them."""

    server: str

    async def whole(self, response: httpx.Response) -> bytes:
        """Return the content of `response`.

        Raises:
            TaskError: INTERNAL if it is longer than MAX_REPLY.
        """
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_REPLY:
                raise self.broken(f"its reply is longer than {MAX_REPLY} bytes")
        return bytes(content)

    async def refused(self, response: httpx.Response) -> bytes:
        """Return the beginning of `response`, which says why there is no other."""
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_LINE:
                break
        return bytes(content[:MAX_LINE])

    async def events(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """Yield the data of server-sent events; httpx's lines would end at more than line feeds.

        Raises:
            TaskError: INTERNAL if one is longer than MAX_LINE.
        """
        rest = b""
        async for chunk in response.aiter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                kind, _, data = line.partition(b": ")
                if kind in (b"data", b"error"):
                    yield data
            if len(rest) > MAX_LINE:
                raise self.broken("an event has no end")

    def parsed(self, content: bytes) -> Any:
        """Return the JSON in `content`.

        Raises:
            TaskError: INTERNAL if it is none.
        """
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self.broken("its reply is no JSON") from None

    def refusal(self, content: bytes) -> TaskError:
        """Return the error that `content` tells: BAD_REQUEST if the task is to blame."""
        try:
            error = json.loads(content)["error"]
            code, message = int(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            code, message = 500, content[:_SHOWN].decode("utf-8", "replace")
        message = shown(message, _SHOWN)
        if code == httpx.codes.BAD_REQUEST:
            refuses = f"{self.server} refuses the task: {message}"
            return TaskError(pb.BAD_REQUEST, refuses, "change it")
        return TaskError(pb.INTERNAL, f"{self.server} failed: {message}", "send the task again")

    def broken(self, why: str) -> TaskError:
        """Return the error of a server that does not keep to its protocol."""
        return TaskError(pb.INTERNAL, f"{self.server} broke off: {why}", "send the task again")
