"""A bad link for tests: a seeded UDP relay that drops, delays, reorders, duplicates and corrupts.

Like most links between machines it passes no more than 1500 bytes at once, whatever loopback does.

Put it between two programs, in either direction alike, in the same process (`LossyRelay.start`)
or as one of its own (`python tests/support/links/lossy_relay.py --to 127.0.0.1:7717`). Every client
gets an upstream socket of its own, so that the far side sees one address for each client.
"""

import argparse
import asyncio
import contextlib
import heapq
import random
import signal
import socket
import time
from dataclasses import dataclass, fields

Address = tuple[str, int]

RECEIVE_TURN = 64
BUFFER = 16 << 20
LEAST_HOLD = 0.002
LEAST_WAIT = 0.001


@dataclass(frozen=True, slots=True)
class Conditions:
    """How bad the link is, each way: shares of all datagrams from 0 to 1, times in seconds.

    A datagram takes `delay` ± `jitter` (uniform). A reordered one is held back as long again, so
    that later ones overtake it even where there is no jitter. A duplicated one comes twice, each
    with a delay of its own. A corrupted one has one to four of its bits flipped. What has more
    than `largest` bytes of UDP payload does not pass; 1472 fill Ethernet's 1500 with IPv4.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    largest: int = 1472


ROUGH = Conditions(loss=0.05, delay=0.010, jitter=0.005, reorder=0.05, duplicate=0.02)
"""The link that the system must get along with."""


@dataclass(slots=True)
class Tally:
    """What the relay did, both ways together."""

    received: int = 0
    sent: int = 0
    lost: int = 0
    reordered: int = 0
    duplicated: int = 0
    corrupted: int = 0
    too_large: int = 0


class LossyRelay:
    """Relays between any number of clients and the address `to`.

    `conditions` may be replaced while it runs: `Conditions(loss=1.0)` cuts the link. Clients do
    not hear `to` while they are `deaf`, and are heard.
    """

    def __init__(self, sock: socket.socket, to: Address, conditions: Conditions, seed: int) -> None:
        self.address: Address = sock.getsockname()
        self.conditions = conditions
        self.deaf = False
        self.tally = Tally()
        self._to = to
        self._random = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._listener = sock
        self._upstreams: dict[Address, socket.socket] = {}
        self._under_way: list[tuple[float, int, bytes, socket.socket, Address | None]] = []
        self._number = 0
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._loop.add_reader(sock, self._from_clients)

    @classmethod
    async def start(
        cls,
        to: Address,
        conditions: Conditions = ROUGH,
        *,
        seed: int = 1,
        listen: Address = ("127.0.0.1", 0),
    ) -> "LossyRelay":
        """Listen on `listen` (port 0: any) and relay to `to`."""
        family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        sock = _open(family)
        sock.bind(listen)
        return cls(sock, to, conditions, seed)

    def client_addresses(self) -> list[Address]:
        """Return the addresses under which the far side sees the clients, oldest first."""
        return [upstream.getsockname() for upstream in self._upstreams.values()]

    def close(self) -> None:
        """Stop; what is under way is lost."""
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self._listener, *self._upstreams.values()):
            self._loop.remove_reader(sock)
            sock.close()
        self._under_way.clear()

    async def __aenter__(self) -> "LossyRelay":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _from_clients(self) -> None:
        for _ in range(RECEIVE_TURN):
            try:
                datagram, client = self._listener.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an earlier datagram
                continue
            upstream = self._upstreams.get(client) or self._open_upstream(client)
            self._relay(datagram, upstream, None)

    def _open_upstream(self, client: Address) -> socket.socket:
        upstream = _open(self._listener.family)
        upstream.connect(self._to)
        self._loop.add_reader(upstream, self._from_upstream, upstream, client)
        self._upstreams[client] = upstream
        return upstream

    def _from_upstream(self, upstream: socket.socket, client: Address) -> None:
        for _ in range(RECEIVE_TURN):
            try:
                datagram = upstream.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue
            self._relay(datagram, self._listener, client)

    def _relay(self, datagram: bytes, sock: socket.socket, to: Address | None) -> None:
        conditions, chance = self.conditions, self._random.random
        self.tally.received += 1
        if len(datagram) > conditions.largest:
            self.tally.too_large += 1
            return
        if (self.deaf and to is not None) or chance() < conditions.loss:
            self.tally.lost += 1
            return
        copies = 1
        if chance() < conditions.duplicate:
            self.tally.duplicated += 1
            copies = 2
        for _ in range(copies):
            copy = datagram
            if copy and chance() < conditions.corrupt:
                self.tally.corrupted += 1
                copy = self._corrupt(copy)
            wait = conditions.delay + conditions.jitter * (2 * chance() - 1)
            if chance() < conditions.reorder:
                self.tally.reordered += 1
                wait += max(conditions.delay + conditions.jitter, LEAST_HOLD)
            if wait <= 0:
                self._send(copy, sock, to)
                continue
            self._number += 1
            heapq.heappush(self._under_way, (time.monotonic() + wait, self._number, copy, sock, to))
        self._set_timer()

    def _corrupt(self, datagram: bytes) -> bytes:
        changed = bytearray(datagram)
        for bit in self._random.sample(range(8 * len(changed)), self._random.randint(1, 4)):
            changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def _send_due(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, _, datagram, sock, to = heapq.heappop(self._under_way)
            self._send(datagram, sock, to)
        self._set_timer()

    def _send(self, datagram: bytes, sock: socket.socket, to: Address | None) -> None:
        try:
            if to is None:
                sock.send(datagram)
            else:
                sock.sendto(datagram, to)
            self.tally.sent += 1
        except OSError:  # nobody there just now, or the buffer is full: lost, as on any link
            self.tally.lost += 1

    def _set_timer(self) -> None:
        if not self._under_way:
            return
        at = self._under_way[0][0]
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        wait = max(at - time.monotonic(), LEAST_WAIT)
        self._timer = self._loop.call_later(wait, self._send_due)


def _open(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    # SO_RCVBUFFORCE and SO_SNDBUFFORCE on Linux: the relay itself must not be what loses.
    for forced, option in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    return sock


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not host:port')
    return host.strip("[]"), int(port)


async def _serve(options: argparse.Namespace) -> None:
    conditions = Conditions(**{f.name: getattr(options, f.name) for f in fields(Conditions)})
    relay = await LossyRelay.start(options.to, conditions, seed=options.seed, listen=options.listen)
    print(f"{relay.address[0]}:{relay.address[1]}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    relay.close()
    print(relay.tally, flush=True)


def main() -> None:
    """Run a relay until interrupted; its first line of output is its address."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0))
    parser.add_argument("--to", type=_address, required=True)
    for field in fields(Conditions):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--seed", type=int, default=1)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
