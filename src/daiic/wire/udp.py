"""The mesh's socket under asyncio: an `Endpoint` gets its datagrams, its time and its turn."""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from daiic.wire.address import is_loopback, resolve
from daiic.wire.clock import BEAT, RunningClock
from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Event
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.links import Links, LinksUnusable, PathChange
from daiic.wire.messages import Address, MessageType
from daiic.wire.udp_socket import UdpSocket, bind, grouped

TIMER_GRANULARITY = 0.001
"""Seconds; the event loop's timers are no finer, and a shorter wait would make it spin."""


class InsecureBind(Exception):
    """Refusal to listen beyond loopback without a cluster key; the message says what to do."""


class MeshSocket:
    """An `Endpoint` on a UDP socket, driven by the running event loop.

    `clock` is the time by which it, and its user, judges that others
    are silent.
    """

    def __init__(
        self, sock: socket.socket, endpoint: Endpoint, on_events: Callable[[list[Event]], None]
    ) -> None:
        self._socket = sock
        self._endpoint = endpoint
        self._on_events = on_events
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[tuple[list[bytes], Address]] = deque()
        self._timer: asyncio.Handle | None = None
        self._timer_at: float | None = None
        self._flush_due = False
        self._closed = False
        self._udp = UdpSocket(sock)
        self._drained: asyncio.Event | None = None
        self._freed: asyncio.Event | None = None
        self._freed_before = 0
        self._links: Links | None = None
        self._on_path: Callable[[PathChange], None] = lambda change: None
        self._linked: set[Address] = set()
        self.local_address: Address = sock.getsockname()
        self.counters = endpoint.counters
        self.clock = RunningClock()
        self._loop.add_reader(sock, self._readable)
        self._beat = self._loop.call_later(BEAT, self._read_clock)

    @classmethod
    async def open(
        cls,
        listen: str,
        *,
        on_events: Callable[[list[Event]], None],
        key: ClusterKey | None = None,
        allow_unauthenticated: bool = False,
        limits: Limits | None = None,
        validate_addresses: bool = False,
    ) -> "MeshSocket":
        """Bind to `listen` ("host:port", port 0 for any) and start.

        `on_events` is called with what happened, once a turn of the event loop.
        `validate_addresses` is for daemons that serve strangers, see `Endpoint`.

        Raises:
            InsecureBind: if `listen` is not loopback, there is no `key` and
                `allow_unauthenticated` is not set.
            ValueError, OSError: as `resolve`, or if the address cannot be bound.
        """
        address = await resolve(listen)
        if key is None and not is_loopback(address) and not allow_unauthenticated:
            raise InsecureBind(
                f"refusing to listen on {listen} without a cluster key: anyone who reaches it "
                "could use this cluster. Set cluster_key_file (`daiic keygen` makes one), listen "
                "on 127.0.0.1, or set allow_unauthenticated if the network is trusted"
            )
        try:
            sock = bind(address)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {listen}: {error.strerror}") from None
        endpoint = Endpoint(
            limits or Limits(),
            lambda: time.time_ns() // 1000,
            key,
            validate_addresses=validate_addresses,
        )
        return cls(sock, endpoint, on_events)

    def use_links(self, links: Links, on_path: Callable[[PathChange], None]) -> None:
        """Reach peers over `links` too, while that works; `on_path` hears of changes."""
        self._links, self._on_path = links, on_path
        self._endpoint.take_path_messages()
        self._loop.add_reader(links.fileno(), self._link_turn)
        self._link_turn()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages being reassembled or not yet acknowledged."""
        return self._endpoint.buffered_bytes

    async def memory_freed(self) -> None:
        """Wait until some of what `buffered_bytes` counts has left the memory."""
        if self._freed is None:
            self._freed = asyncio.Event()
            self._freed_before = self._endpoint.freed_bytes
        await self._freed.wait()

    def send(self, to: Address, message_type: MessageType, payload: bytes) -> int | None:
        """Queue a message of any size and return its sequence number; never blocks.

        A `Delivered` event tells when it has arrived. `None` says that it was
        not queued: so much waits to be acknowledged that there is no memory
        for it (`Limits.memory`, `Limits.peer_memory`); `memory_freed` tells
        when to try again.

        Raises:
            MessageTooLarge: if `payload` exceeds `Limits.max_message`.
        """
        sequence = self._endpoint.send(to, message_type, payload, self.clock())
        self._flush_soon()
        return sequence

    def ping(self, to: Address) -> None:
        """Send a PING; a `Pong` event brings the answer."""
        self._endpoint.ping(to, self.clock())
        self._flush_soon()

    def trust(self, addresses: Iterable[Address]) -> None:
        """Send without reserve to `addresses`, which nobody but us has chosen."""
        self._endpoint.trust(addresses)

    def rtt(self, to: Address) -> float | None:
        """Return the smoothed round trip to `to` in seconds, `None` if not known."""
        return self._endpoint.rtt(to)

    def forget(self, peer: Address) -> None:
        """Drop all that is known about `peer`, and without an event what was to be sent to it."""
        self._endpoint.forget(peer)
        self._flush_soon()

    def idle(self) -> bool:
        """Return whether every message has been acknowledged or given up."""
        return self._endpoint.idle() and not self._backlog

    async def close(self, drain: float = 1.0) -> None:
        """Stop, after up to `drain` seconds in which unacknowledged messages may still arrive."""
        self._flush()
        if not self._closed and not self.idle():
            self._drained = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), drain)
        if self._closed:
            return
        self._closed = True
        self._beat.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        if self._links is not None:
            self._loop.remove_reader(self._links.fileno())
            self._links.close()

    # ------------------------------------------------------------- receiving

    def _readable(self) -> None:
        self._udp.receive(self._endpoint.datagram_received, self.clock())
        if self._links is not None:
            self._answer_about_paths(self._links, self.clock())
        self._flush()

    def _link_turn(self) -> None:
        if self._links is not None and not self._closed:
            self._step(self._links, self.clock())
            self._flush()

    def _step(self, links: Links, now: float) -> None:
        endpoint = self._endpoint
        try:
            links.step(now, time.time_ns() // 1000)
        except LinksUnusable:
            self._drop_links(links, now)
            return
        for datagram, peer in links.received():
            endpoint.datagram_received(memoryview(datagram), peer, now)
        self._answer_about_paths(links, now)
        for payload, peer in links.questions():
            endpoint.send_path_message(peer, payload, now)
        for change in links.changes():
            self._follow(change, now)

    def _follow(self, change: PathChange, now: float) -> None:
        if change.size is None:
            self._linked.discard(change.peer)
        else:
            self._linked.add(change.peer)
        self._endpoint.set_path(change.peer, change.size, now)
        self._on_path(change)

    def _drop_links(self, links: Links, now: float) -> None:
        self._links = None
        self._loop.remove_reader(links.fileno())
        links.close()
        for peer in tuple(self._linked):
            self._follow(PathChange(peer, None), now)

    def _answer_about_paths(self, links: Links, now: float) -> None:
        for payload, peer in self._endpoint.take_path_messages():
            links.asked(payload, peer, now, time.time_ns() // 1000)
        links.flush()

    # --------------------------------------------------------------- sending

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._closed:
            return
        # Whatever the application answers to these events goes out in the same turn.
        self._flush_due = True
        try:
            self._deliver()
        finally:
            self._flush_due = False
        if not self._backlog:
            now = self.clock()
            for group in grouped(self._endpoint.datagrams_to_send(now)):
                if self._links is None or not self._by_link(self._links, *group, now):
                    self._transmit(*group)
            if self._links is not None:
                self._links.flush()
            self._deliver()
        self._set_timer()
        if self._drained is not None and self.idle():
            self._drained.set()
        if self._freed is not None and self._endpoint.freed_bytes != self._freed_before:
            self._freed.set()
            self._freed = None

    def _deliver(self) -> None:
        events = self._endpoint.take_events()
        if events:
            self._on_events(events)

    def _by_link(self, links: Links, datagrams: list[bytes], address: Address, now: float) -> bool:
        if not links.put(datagrams[0], address, now):
            return False
        for datagram in datagrams[1:]:
            links.put(datagram, address, now)
        return True

    def _transmit(self, datagrams: list[bytes], address: Address) -> None:
        if self._backlog:
            self._backlog.append((datagrams, address))
            return
        try:
            self._udp.send(datagrams, address)
        except BlockingIOError:
            self._backlog.append((datagrams, address))
            self._loop.add_writer(self._socket, self._writable)
        except OSError:  # unreachable just now: to the protocol a loss like any other
            pass

    def _writable(self) -> None:
        while self._backlog:
            try:
                self._udp.send(*self._backlog[0])
            except BlockingIOError:
                return
            except OSError:
                pass
            self._backlog.popleft()
        self._loop.remove_writer(self._socket)
        self._flush()

    def _set_timer(self) -> None:
        at = self._endpoint.next_timeout()
        if self._links is not None:
            step_at = self._links.next_timeout()
            at = step_at if at is None else min(at, step_at)
        if self._timer is not None:
            if at == self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        if at is None:
            return
        self._timer_at = at
        wait = at - self.clock()
        if wait <= 0:
            self._timer = self._loop.call_soon(self._timed_out)
        else:
            self._timer = self._loop.call_later(max(wait, TIMER_GRANULARITY), self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        now = self.clock()
        if self._links is not None and now >= self._links.next_timeout():
            self._step(self._links, now)
        self._flush()

    def _read_clock(self) -> None:
        self.clock()
        self._beat = self._loop.call_later(BEAT, self._read_clock)
