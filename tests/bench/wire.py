"""Figures of the wire protocol on this machine: `python tests/bench/wire.py`. Never fails.

What one CPU encodes and decodes, and how fast 64 MiB go from one process to another, plain and
sealed, at 0, 1 and 5 % loss, beside a TCP socket over the same loopback. What goes through the
relay has datagrams of 1200 bytes, as between machines; what does not, large ones after the first
message.
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Event, Message
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import MIB, Limits
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.links.lossy_relay import Conditions, LossyRelay

KEY = ClusterKey(bytes(range(32)))
SIZE = 64 * MIB
PATIENCE = 120.0


# ------------------------------------------------------------------ no sockets


def endpoints(key: ClusterKey | None, payload: int, burst: int, count: int) -> tuple[float, float]:
    """Return messages/s and datagrams/s of one CPU that both sends and receives.

    A sends `burst` messages of `payload` bytes at a time, B acknowledges; the time of both
    counts, so a program that does one half of it does about twice as many.
    """
    a, b = (Endpoint(Limits(), lambda: time.time_ns() // 1000, key) for _ in range(2))
    at_a, at_b = ("10.0.0.1", 1), ("10.0.0.1", 2)
    body = os.urandom(payload)
    began = time.perf_counter()
    arrived = 0
    while arrived < count:
        now = time.perf_counter()
        if a.idle():
            for _ in range(burst):
                a.send(at_b, MessageType.TASK, body, now)
        for datagram, _ in a.datagrams_to_send(now):
            b.datagram_received(datagram, at_a, now)
        arrived += len(b.take_events())
        for datagram, _ in b.datagrams_to_send(now):
            a.datagram_received(datagram, at_b, now)
        a.take_events()
    seconds = time.perf_counter() - began
    sent = a.counters.datagrams_sent + b.counters.datagrams_sent
    return arrived / seconds, sent / seconds


def encode_and_decode() -> Table:
    table = Table(title="One CPU, encode and decode, no socket", title_justify="left")
    for column in ("message", "in a row", "plain msg/s", "datagrams/s", "sealed msg/s", "dgrams/s"):
        table.add_column(column, justify="right")
    for payload, burst, count in ((64, 1, 20_000), (64, 16, 50_000), (1000, 16, 30_000)):
        figures = [f for key in (None, KEY) for f in endpoints(key, payload, burst, count)]
        table.add_row(f"{payload} B", str(burst), *(f"{figure:,.0f}" for figure in figures))
    return table


# --------------------------------------------------------------------- sockets


def receive_mesh(pipe: Connection, key: ClusterKey | None) -> None:
    """Report the port, then the time of each whole message."""

    async def main() -> None:
        def on_events(events: list[Event]) -> None:
            for event in events:
                if isinstance(event, Message):
                    pipe.send((time.monotonic(), len(event.payload)))

        mesh = await MeshSocket.open("127.0.0.1:0", on_events=on_events, key=key)
        pipe.send(mesh.local_address)
        await asyncio.Event().wait()

    uvloop.run(main())


def receive_tcp(pipe: Connection) -> None:
    """The same with a TCP socket, into memory reserved beforehand."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname())
        buffer = memoryview(bytearray(SIZE))
        while True:
            connection, _ = server.accept()
            with connection:
                got = 0
                while got < SIZE:
                    got += connection.recv_into(buffer[got:])
            pipe.send((time.monotonic(), got))


def relay_process(pipe: Connection, to: tuple[str, int], loss: float, rough: bool) -> None:
    async def main() -> None:
        extra = {"delay": 0.01, "jitter": 0.005, "reorder": 0.05, "duplicate": 0.02}
        conditions = Conditions(loss=loss, **(extra if rough else {}))
        relay = await LossyRelay.start(to, conditions)
        pipe.send(relay.address)
        await asyncio.Event().wait()

    uvloop.run(main())


class Beside:
    """A process beside ours; `first` is the first thing that it reports."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=target, args=(theirs, *arguments))

    def __enter__(self) -> "Beside":
        self._process.start()
        self.first = self.pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


async def mesh_rate(
    pipe: Connection, to: tuple[str, int], key: ClusterKey | None, rounds: int
) -> list[float]:
    """Return MB/s of each transfer; an empty list if one does not arrive in time."""
    mesh = await MeshSocket.open("127.0.0.1:0", on_events=lambda _: None, key=key)
    payload = os.urandom(SIZE)
    rates = []
    for _ in range(rounds):
        began = time.monotonic()
        mesh.send(to, MessageType.RESULT, payload)
        while not pipe.poll():
            if time.monotonic() - began > PATIENCE:
                return []
            await asyncio.sleep(0.002)
        rates.append(SIZE / 1e6 / (pipe.recv()[0] - began))
        while not mesh.idle():
            await asyncio.sleep(0.005)
    await mesh.close()
    return rates


def tcp_rate(pipe: Connection, to: tuple[str, int], rounds: int) -> list[float]:
    payload = os.urandom(SIZE)
    rates = []
    for _ in range(rounds):
        began = time.monotonic()
        with socket.create_connection(to) as sock:
            sock.sendall(payload)
            ended, _ = pipe.recv()
        rates.append(SIZE / 1e6 / (ended - began))
    return rates


def transfers(rounds: int) -> Table:
    table = Table(title="64 MiB from process to process, loopback", title_justify="left")
    for column, side in (("way", "left"), ("median MB/s", "right"), ("best MB/s", "right")):
        table.add_column(column, justify=side)

    def row(name: str, rates: list[float]) -> None:
        figures = (statistics.median(rates), max(rates)) if rates else ()
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures))

    with Beside(receive_tcp) as tcp:
        row("TCP", tcp_rate(tcp.pipe, tcp.first, rounds))
    for name, key in (("plain", None), ("sealed", KEY)):
        with Beside(receive_mesh, key) as peer:
            row(f"mesh, {name}", uvloop.run(mesh_rate(peer.pipe, peer.first, key, rounds)))
    for loss, rough in ((0.0, False), (0.01, False), (0.05, False), (0.05, True)):
        with Beside(receive_mesh, None) as peer, Beside(
            relay_process, peer.first, loss, rough
        ) as relay:  # fmt: skip
            name = f"mesh, through the relay, {loss:.0%} loss"
            name += ", 10 ± 5 ms, reordering, duplicates" if rough else ""
            row(name, uvloop.run(mesh_rate(peer.pipe, relay.first, None, rounds)))
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console()
    console.print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {sys.version.split()[0]}")
    console.print(encode_and_decode())
    console.print(transfers(options.rounds))


if __name__ == "__main__":
    main()
