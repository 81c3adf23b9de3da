"""A relay of `support.links.delay_relay` in a process of its own, and what it adds in truth."""

import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from daiic.tether import tethered

RELAY = Path(__file__).parents[1] / "support" / "links" / "delay_relay.py"
PINGS = 300
SIZE = 8192
"""Bytes of a ping: about what goes from machine to machine for a token."""


class LongWay:
    """A way to `to`, through a relay."""

    def __init__(self, to: str) -> None:
        self._process = subprocess.Popen(
            tethered(sys.executable, RELAY, "--to", to),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._told()

    def delay(self, seconds: float) -> None:
        """Let it take so long, each way."""
        self._ask(f"delay {seconds}")

    @property
    def bytes(self) -> int:
        """Bytes that it has brought so far, both ways."""
        return sum(map(int, self._ask("bytes").split()))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, what: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def measured(seconds: float) -> tuple[float, float]:
    """Return what a relay of such a delay adds each way: median and 90th percentile."""
    with _echo() as address:
        plain = statistics.median(_pings(address))
        way = LongWay(f"{address[0]}:{address[1]}")
        way.delay(seconds)
        host, _, port = way.address.rpartition(":")
        added = [(took - plain) / 2 for took in _pings((host, int(port)))]
        way.close()
    return statistics.median(added), statistics.quantiles(added, n=10)[-1]


@contextlib.contextmanager
def _echo() -> Iterator[tuple[str, int]]:
    def serve(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, contextlib.suppress(OSError):
            while data := client.recv(SIZE):
                client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def _pings(address: tuple[str, int]) -> list[float]:
    took = []
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(PINGS):
            began, back = time.perf_counter(), 0
            sock.sendall(bytes(SIZE))
            while back < SIZE:
                back += len(sock.recv(SIZE))
            took.append(time.perf_counter() - began)
    return took
