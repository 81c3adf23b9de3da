"""Requests to a gateway, or to another server that speaks the OpenAI API; errors are the mesh's."""

import contextlib
import json
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import httpx

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

CONNECT_TIMEOUT = 10.0
CODES = {
    400: pb.BAD_REQUEST,
    404: pb.MODEL_NOT_FOUND,
    429: pb.QUEUE_FULL,
    503: pb.NO_WORKER,
    504: pb.DEADLINE_EXCEEDED,
}


class GatewayHttp:
    """Connections to one server; DAIIC_API_KEY holds the key, if one is needed."""

    def __init__(self, url: str) -> None:
        """`url` is the gateway's, with or without a trailing /v1."""
        base = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get("DAIIC_API_KEY")
        self._http = httpx.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
        )

    async def close(self) -> None:
        """Close them."""
        await self._http.aclose()

    async def json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Any:
        """Return what is answered to `body`, which goes into a form if there are `files`.

        Raises:
            TaskError: if it is an error or no JSON, or the server cannot be reached.
        """
        content: dict[str, Any] = {"json": body} if files is None else {"data": body}
        response = await self.answered(method, path, files=files, **content)
        with of_this_api():
            return response.json()

    async def answered(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Return what is answered to `request`, as httpx has it.

        Raises:
            TaskError: if it is an error, or the server cannot be reached.
        """
        try:
            response = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if response.is_error:
            raise _error(response)
        return response

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the JSON of each server-sent event until [DONE].

        Raises:
            TaskError: as `json`, or if an event is an error.
        """
        try:
            async with self._http.stream("POST", path, json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line.removeprefix("data:").strip()
                    if data == "[DONE]":
                        return
                    with of_this_api():
                        event = json.loads(data)
                        failed = event.get("error")
                        message = str(failed.get("message", data)) if failed else ""
                    if failed:
                        raise TaskError(pb.INTERNAL, message)
                    yield event
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> TaskError:
        return TaskError(
            pb.HEAD_UNREACHABLE,
            f"the gateway at {self._http.base_url} does not answer ({error})",
            "check --url, and that daiic-gateway is running there",
        )


def _error(response: httpx.Response) -> TaskError:
    code = CODES.get(response.status_code, pb.INTERNAL)
    if response.status_code == 401:
        return TaskError(
            pb.BAD_REQUEST,
            "the gateway requires an API key",
            "set DAIIC_API_KEY to one that `daiic apikey create` made",
        )
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        message = f"{response.status_code} {response.reason_phrase}"
    return TaskError(code, message)


@contextlib.contextmanager
def of_this_api() -> Iterator[None]:
    """Turn what goes wrong with an answer of another shape into a `TaskError`."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TaskError(
            pb.INTERNAL,
            f"the server does not speak the OpenAI API ({type(error).__name__}: {error})",
            "check --url: it should be the address of a gateway, such as http://127.0.0.1:7700",
        ) from None
