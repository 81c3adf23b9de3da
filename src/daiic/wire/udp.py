"""The mesh's socket under asyncio: the only file of the protocol that does I/O.

On Linux it lets the kernel cut and join datagrams (UDP_SEGMENT, UDP_GRO), so
that a large message costs one system call for every fifty-odd datagrams.
"""

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable

from daiic.wire.address import is_loopback, resolve
from daiic.wire.clock import BEAT, RunningClock
from daiic.wire.endpoint import Endpoint
from daiic.wire.events import Event
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import Address, MessageType

# Linux's numbers, from include/uapi/linux/udp.h; Python's socket module lacks them.
SOL_UDP = socket.IPPROTO_UDP
UDP_SEGMENT = 103
UDP_GRO = 104
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32

MAX_SEGMENTS = 64
MAX_SEGMENTED = 65000
RECEIVE_TURN = 32
SOCKET_BUFFER = 8 << 20
TIMER_GRANULARITY = 0.001
"""Seconds; the event loop's timers are no finer, and a shorter wait would make it spin."""


class InsecureBind(Exception):
    """Refusal to listen beyond loopback without a cluster key; the message says what to do."""


class MeshSocket:
    """An `Endpoint` on a UDP socket, driven by the running event loop.

    `clock` is the time by which it, and whoever uses it, judges that others
    are silent.
    """

    def __init__(
        self, sock: socket.socket, endpoint: Endpoint, on_events: Callable[[list[Event]], None]
    ) -> None:
        self._socket = sock
        self._endpoint = endpoint
        self._on_events = on_events
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(65536))
        self._backlog: deque[tuple[list[bytes], Address]] = deque()
        self._timer: asyncio.Handle | None = None
        self._timer_at: float | None = None
        self._flush_due = False
        self._closed = False
        self._kernel_cuts = _kernel_cuts(sock)
        self._drained: asyncio.Event | None = None
        self._freed: asyncio.Event | None = None
        self._freed_before = 0
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
        wary: bool = False,
    ) -> "MeshSocket":
        """Bind to `listen` ("host:port", port 0 for any) and start.

        `on_events` is called with what arrived, once a turn of the event loop.
        `wary` is for who serves strangers, see `Endpoint`.

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
        sock = socket.socket(
            socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM
        )
        try:
            sock.setblocking(False)
            _tune(sock)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot listen on {listen}: {error.strerror}") from None
        endpoint = Endpoint(limits or Limits(), lambda: time.time_ns() // 1000, key, wary=wary)
        return cls(sock, endpoint, on_events)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages being reassembled or not yet acknowledged."""
        return self._endpoint.buffered_bytes

    async def memory_freed(self) -> None:
        """Wait until some of the `buffered_bytes` of now, or of later, are no longer buffered."""
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

    # ------------------------------------------------------------- receiving

    def _readable(self) -> None:
        now = self.clock()
        buffer = self._buffer
        buffers = [buffer]
        receive = self._endpoint.datagram_received
        for _ in range(RECEIVE_TURN):
            try:
                size, ancillary, _, address = self._socket.recvmsg_into(buffers, 64)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of an earlier datagram; timeouts deal with it
                continue
            if not ancillary:
                receive(buffer[:size], address, now)
                continue
            # UDP_GRO is the only ancillary data that was asked for.
            (segment,) = struct.unpack_from("i", ancillary[0][2])
            for start in range(0, size, segment):
                receive(buffer[start : min(start + segment, size)], address, now)
        self._flush()

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
            for group in _grouped(self._endpoint.datagrams_to_send(self.clock())):
                self._transmit(*group)
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

    def _transmit(self, datagrams: list[bytes], address: Address) -> None:
        if self._backlog:
            self._backlog.append((datagrams, address))
            return
        try:
            self._send_group(datagrams, address)
        except BlockingIOError:
            self._backlog.append((datagrams, address))
            self._loop.add_writer(self._socket, self._writable)
        except OSError:  # unreachable just now: to the protocol a loss like any other
            pass

    def _send_group(self, datagrams: list[bytes], address: Address) -> None:
        """Send `datagrams`; those still in the list have not left if this raises."""
        cut_failed = False
        if len(datagrams) > 1 and self._kernel_cuts:
            control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(datagrams[0])))]
            try:
                self._socket.sendmsg(datagrams, control, 0, address)
                return
            except OSError as error:
                # What kernels say that do not know UDP_SEGMENT, whose device cannot do it, or
                # when the MTU is smaller than a piece: a lone one is then fragmented.
                if error.errno not in (errno.EIO, errno.EINVAL, errno.EMSGSIZE):
                    raise
                cut_failed = True
        while datagrams:
            self._socket.sendto(datagrams[0], address)
            del datagrams[0]
        if cut_failed:
            self._kernel_cuts = False

    def _writable(self) -> None:
        while self._backlog:
            try:
                self._send_group(*self._backlog[0])
            except BlockingIOError:
                return
            except OSError:
                pass
            self._backlog.popleft()
        self._loop.remove_writer(self._socket)
        self._flush()

    def _set_timer(self) -> None:
        at = self._endpoint.next_timeout()
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
        self._flush()

    def _read_clock(self) -> None:
        self.clock()
        self._beat = self._loop.call_later(BEAT, self._read_clock)


def _grouped(datagrams: Iterable[tuple[bytes, Address]]) -> Iterable[tuple[list[bytes], Address]]:
    """Join what the kernel can cut apart again: one address, one size, the last may be short."""
    group: list[bytes] = []
    to: Address = ()
    size = 0
    for datagram, address in datagrams:
        if group:
            full = len(group) == MAX_SEGMENTS or size + len(group[0]) > MAX_SEGMENTED
            uneven = len(group[-1]) != len(group[0]) or len(datagram) > len(group[0])
            if full or uneven or address != to:
                yield group, to
                group, size = [], 0
        group.append(datagram)
        size += len(datagram)
        to = address
    if group:
        yield group, to


def _kernel_cuts(sock: socket.socket) -> bool:
    """Return whether the kernel knows UDP_SEGMENT; one that does not may ignore it in silence."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


def _tune(sock: socket.socket) -> None:
    for option, forced in ((socket.SO_RCVBUF, SO_RCVBUFFORCE), (socket.SO_SNDBUF, SO_SNDBUFFORCE)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
        except OSError:  # needs CAP_NET_ADMIN; else as much as the system allows
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    with contextlib.suppress(OSError):
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
