"""The port for probes and Prometheus."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from daiic.service.status_port import StatusPort


@pytest.fixture
async def port():
    """A status port that is ready unless `reasons` holds why not."""
    registry = CollectorRegistry()
    Counter("cakes", "Cakes baked", registry=registry).inc(3)
    reasons: list[str] = []
    port = StatusPort(registry, lambda: reasons[0] if reasons else None)
    port.reasons = reasons
    await port.open("127.0.0.1:0")
    yield port
    await port.close()


async def exchange(port: StatusPort, request: bytes) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    writer.write(request)
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head, body


async def get(port: StatusPort, path: str, method: str = "GET") -> tuple[str, str]:
    return await exchange(port, f"{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())


async def test_health_is_always_fine(port):
    port.reasons.append("still loading")
    head, body = await get(port, "/healthz")
    assert head.startswith("HTTP/1.1 200 ")
    assert body == "ok\n"


async def test_readiness_says_why_not(port):
    assert (await get(port, "/readyz"))[1] == "ready\n"
    port.reasons.append("still loading")
    head, body = await get(port, "/readyz?verbose")
    assert head.startswith("HTTP/1.1 503 ")
    assert body == "still loading\n"


async def test_metrics_are_those_of_the_registry(port):
    head, body = await get(port, "/metrics")
    assert "openmetrics-text" in head
    assert "cakes_total 3.0" in body


async def test_other_paths_are_not_found_and_head_has_no_body(port):
    head, body = await get(port, "/")
    assert head.startswith("HTTP/1.1 404 ")
    assert "/metrics" in body
    assert (await get(port, "/healthz", "HEAD"))[1] == ""


@pytest.mark.parametrize("garbage", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n"])
async def test_garbage_ends_the_connection_and_harms_nobody(port, garbage):
    assert await exchange(port, garbage) == ("", "")
    assert (await get(port, "/healthz"))[1] == "ok\n"


async def test_client_that_leaves_early_harms_nobody(port):
    _, writer = await asyncio.open_connection("127.0.0.1", port.port)
    writer.write(b"GET /heal")
    writer.close()
    await writer.wait_closed()
    assert (await get(port, "/healthz"))[1] == "ok\n"


async def test_empty_address_opens_nothing():
    port = StatusPort(CollectorRegistry(), lambda: None)
    await port.open("")
    assert port.port == 0
    await port.close()
