"""What is no HTTP request, or not one for a status port; and how to send it."""

import asyncio

NO_REQUESTS = {
    "noise": (b"\x00\xff\r\n\r\n", 400),
    "half a line": (b"GET\r\n\r\n", 400),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "bad host": (b"GET /healthz HTTP/1.1\r\nHost: [\r\n\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "endless header": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 200_000, 431),
    "endless headers": (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: a\r\n" * 50_000,
        431,
    ),
}
"""Bytes and the status that answers them, by what they are."""


async def exchange(port: int, request: bytes) -> tuple[str, str]:
    """Send `request` to a port of loopback; return head and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head, body


async def get(port: int, path: str, method: str = "GET") -> tuple[str, str]:
    """Ask for `path` as a browser on this machine does."""
    return await exchange(port, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
