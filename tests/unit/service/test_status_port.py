"""The port for probes and Prometheus."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from daiic.service.status_port import StatusPort
from support.hostile import http_requests
from support.hostile.http_requests import NO_REQUESTS, exchange


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


async def get(port: StatusPort, path: str, method: str = "GET") -> tuple[str, str]:
    return await http_requests.get(port.port, path, method)


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


@pytest.mark.parametrize(("request_", "status"), NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
async def test_what_is_not_a_request_is_refused_and_harms_nobody(port, request_, status):
    head, _ = await exchange(port.port, request_)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert (await get(port, "/healthz"))[1] == "ok\n"


async def test_on_loopback_only_local_names_are_answered(port):
    for host, status in (("evil.example", 403), ("127.0.0.1", 200), ("[::1]:7701", 200)):
        head, _ = await exchange(
            port.port, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        )
        assert head.startswith(f"HTTP/1.1 {status} ")


async def test_connections_without_a_request_do_not_keep_others_out(port):
    held = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(100)]
    assert (await get(port, "/healthz"))[1] == "ok\n"
    assert await asyncio.wait_for(held[0][0].read(), 5) == b""
    for _, writer in held:
        writer.close()


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
