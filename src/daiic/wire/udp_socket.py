"""A non-blocking UDP socket that sends and receives many datagrams with one system call.

On Linux the kernel cuts and joins datagrams (UDP_SEGMENT, UDP_GRO), so that a
large message costs one system call for every fifty-odd datagrams.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterable

from daiic.wire.messages import Address

# Linux's numbers, from include/uapi/linux/udp.h; Python's socket module lacks them.
SOL_UDP = socket.IPPROTO_UDP
UDP_SEGMENT = 103
UDP_GRO = 104
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32

MAX_SEGMENTS = 64
MAX_SEGMENTED = 65000
RECEIVE_TURN = 32
"""System calls of one `receive`, before others get their turn."""
SOCKET_BUFFER = 8 << 20


def bind(address: Address) -> socket.socket:
    """Return a socket bound to `address`, with large buffers.

    Raises:
        OSError: if the address cannot be bound.
    """
    sock = socket.socket(
        socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM
    )
    try:
        sock.setblocking(False)
        for option, forced in (
            (socket.SO_RCVBUF, SO_RCVBUFFORCE),
            (socket.SO_SNDBUF, SO_SNDBUFFORCE),
        ):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER)
            except OSError:  # needs CAP_NET_ADMIN; else as much as the system allows
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


class UdpSocket:
    """Groups of datagrams in and out of a bound socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = memoryview(bytearray(65536))
        self._kernel_cuts = _kernel_cuts(sock)

    def receive(self, take: Callable[[memoryview, Address, float], None], now: float) -> None:
        """Pass what has arrived to `take`: a datagram, valid during the call, its sender, `now`."""
        buffer = self._buffer
        buffers = [buffer]
        for _ in range(RECEIVE_TURN):
            try:
                size, ancillary, _, address = self._socket.recvmsg_into(buffers, 64)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of an earlier datagram; timeouts deal with it
                continue
            if not ancillary:
                take(buffer[:size], address, now)
                continue
            # UDP_GRO is the only ancillary data that was asked for.
            (segment,) = struct.unpack_from("i", ancillary[0][2])
            for start in range(0, size, segment):
                take(buffer[start : min(start + segment, size)], address, now)

    def send(self, datagrams: list[bytes], address: Address) -> None:
        """Send a group that `grouped` has made; what has left is taken out of it.

        Raises:
            OSError: if the rest has to wait, or cannot be sent.
        """
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


def grouped(datagrams: Iterable[tuple[bytes, Address]]) -> Iterable[tuple[list[bytes], Address]]:
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
    """Return whether the kernel knows UDP_SEGMENT; one that does not may ignore it silently."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
