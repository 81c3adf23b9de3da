"""Posting to a gateway in this process, for the targets that do."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import structlog

from support.gateway_in_process import GatewayInProcess
from support.peers.scripted_head import able_worker

LONGEST_ERROR = 8000


def with_gateway(
    use: Callable[[GatewayInProcess, bytes], Awaitable[None]], *, only_local_names: bool = False
) -> Callable[[bytes], None]:
    """Return what gives one input to `use`, with a gateway that lives as long as the run."""
    loop = asyncio.new_event_loop()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def begin() -> GatewayInProcess:
        gateway = GatewayInProcess(only_local_names=only_local_names)
        gateway.cluster.now = able_worker()
        gateway.view.update(gateway.cluster.now)
        return gateway

    gateway = loop.run_until_complete(begin())

    async def once(data: bytes) -> None:
        await use(gateway, data)
        gateway.cluster.tasks.clear()

    return lambda data: loop.run_until_complete(once(data))


def check_refusal(answer: bytes) -> None:
    """Check that `answer` says what is wrong, in a few words; of Ollama's API it is a text."""
    assert len(answer) < LONGEST_ERROR
    error = json.loads(answer)["error"]
    assert error if isinstance(error, str) else error["message"]


async def post(
    gateway: GatewayInProcess, path: str, body: bytes, content_type: bytes = b"application/json"
) -> tuple[int, bytes, str]:
    """Return the status, the body and its media type."""
    started: dict[str, object] = {}
    answer = bytearray()
    asked = False

    async def receive() -> dict[str, object]:
        nonlocal asked
        if asked:
            await asyncio.Future()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            answer.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "DELETE" if path == "/api/delete" else "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", content_type)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 7700),
        "state": {},
    }
    await gateway.app(scope, receive, send)
    headers = dict(started["headers"])
    return started["status"], bytes(answer), headers[b"content-type"].decode().partition(";")[0]
