"""Links, such as a Thunderbolt cable, by way of libdcf (src/dcf/include/dcf.h).

What goes over them and who is there libdcf decides; this hands it what an
`Endpoint` of ours sends, and takes what came.
"""

import ctypes
import os
import socket
from collections.abc import Iterator
from ctypes import (
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from daiic.wire.keyfile import ClusterKey
from daiic.wire.messages import Address

THUNDERBOLT = "thunderbolt"
"""What Linux's names of Thunderbolt's network devices begin with."""
ABI_VERSION = 1
IPV4, IPV6 = 4, 6
VARIABLE = "DAIIC_LIBDCF"
CHECKOUT = Path(__file__).parents[2] / "target" / "release" / "libdcf.so"


class LinksUnusable(Exception):
    """Links cannot be used; the message says why and what to do."""


class _Address(ctypes.Structure):
    _fields_ = (
        ("ip", c_uint8 * 16),
        ("family", c_uint16),
        ("port", c_uint16),
        ("scope_id", c_uint32),
    )


class _Link(ctypes.Structure):
    _fields_ = (("name", c_char * 16), ("address", _Address), ("largest", c_uint64))


class _Change(ctypes.Structure):
    _fields_ = (("peer", _Address), ("neighbour", _Address), ("size", c_uint64))


@lru_cache(maxsize=4096)
def _to_c(address: Address) -> _Address:
    host, port = address[0], address[1]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host.partition("%")[0])
    scope = address[3] if len(address) > 3 else 0
    made = _Address(family=IPV6 if ":" in host else IPV4, port=port, scope_id=scope)
    ctypes.memmove(made.ip, packed, len(packed))
    return made


def _from_c(address: _Address) -> Address:
    if address.family == IPV4:
        return socket.inet_ntop(socket.AF_INET, bytes(address.ip[:4])), address.port
    host = socket.inet_ntop(socket.AF_INET6, bytes(address.ip))
    return host, address.port, 0, address.scope_id


@dataclass(frozen=True, slots=True)
class PathChange:
    """The path to `peer`: `size` is the largest datagram over the link, `None` if it is down."""

    peer: Address
    size: int | None


class Links:
    """All links of a process.

    `step` tells if libdcf fails; the others then do nothing.
    """

    def __init__(self, key: ClusterKey | None, prefix: str = THUNDERBOLT) -> None:
        """Use the network devices whose names begin with `prefix`, now or later.

        Raises:
            LinksUnusable: without a libdcf that can do it, or if the system refuses.
        """
        self._library = _load()
        made = c_void_p()
        secret = key.secret if key is not None else None
        result = self._library.dcf_links_new(prefix.encode(), secret, byref(made))
        if result < 0:
            raise LinksUnusable(f"links cannot be used: {os.strerror(ctypes.get_errno())}")
        self._links = made
        self._descriptor = self._checked(self._library.dcf_links_fd(made))

    def fileno(self) -> int:
        """Return a descriptor that can be read from when there is a reason for `step`."""
        return self._descriptor

    def next_timeout(self) -> float:
        """Return when `step` has to be called, whatever comes."""
        at = c_uint64()
        self._library.dcf_links_next_timeout(self._links, byref(at))
        return at.value / 1e6

    def step(self, now: float, wall: int) -> None:
        """Look for devices, find peers, probe paths, and read what came.

        `now` is a monotonic clock in seconds, `wall` in microseconds since the Epoch.

        Raises:
            LinksUnusable: after a fault in libdcf; there is nothing left but to `close`.
        """
        self._checked(self._library.dcf_links_step(self._links, int(now * 1e6), wall))

    def received(self) -> Iterator[tuple[bytes, Address]]:
        """Yield the datagrams of peers that came, and the ordinary addresses of those."""
        yield from self._all(self._library.dcf_links_next_datagram)

    def questions(self) -> Iterator[tuple[bytes, Address]]:
        """Yield what is to be sent to ordinary addresses, as messages about paths."""
        yield from self._all(self._library.dcf_links_next_challenge)

    def asked(self, payload: bytes, sender: Address, now: float, wall: int) -> None:
        """Answer a message about paths that came over the ordinary network."""
        size, address = len(payload), byref(_to_c(sender))
        self._library.dcf_links_challenged(
            self._links, payload, size, address, int(now * 1e6), wall
        )

    def changes(self) -> Iterator[PathChange]:
        """Yield what has become of paths."""
        change = _Change()
        while self._library.dcf_links_next_change(self._links, byref(change)) == 1:
            yield PathChange(_from_c(change.peer), change.size or None)

    def names(self) -> list[str]:
        """Return the names of the devices in use."""
        link, names = _Link(), list[str]()
        while self._library.dcf_links_link(self._links, len(names), byref(link)) == 1:
            names.append(link.name.decode("utf-8", "replace"))
        return names

    def put(self, datagram: bytes, to: Address, now: float) -> bool:
        """Take a datagram that goes over a link, with the next `flush`; return whether it does."""
        address = byref(_to_c(to))
        result: int = self._library.dcf_links_put(
            self._links, address, datagram, len(datagram), int(now * 1e6)
        )
        return result == 1

    def flush(self) -> None:
        """Send what was put."""
        self._library.dcf_links_flush(self._links)

    def counters(self) -> dict[str, int]:
        """Return what was counted, by name."""
        counted: dict[str, int] = {}
        name, text, value = c_char_p(), c_char_p(), c_uint64()
        out = (byref(name), byref(text), byref(value))
        while self._library.dcf_links_counter(self._links, len(counted), *out) == 1:
            counted[(name.value or b"").decode("ascii")] = value.value
        return counted

    def close(self) -> None:
        """Free all of it; nothing may be called any more."""
        self._library.dcf_links_free(self._links)
        self._links = c_void_p()

    def _all(self, function: Any) -> Iterator[tuple[bytes, Address]]:
        pointer, size, address = c_void_p(), c_size_t(), _Address()
        out = (byref(pointer), byref(size), byref(address))
        while function(self._links, *out) == 1:
            yield ctypes.string_at(pointer, size.value), _from_c(address)

    def _checked(self, result: int) -> int:
        if result < 0:
            text = self._library.dcf_describe(result)
            raise LinksUnusable(f"libdcf: {(text or b'').decode('ascii')}")
        return result


def _load() -> ctypes.CDLL:
    named = os.environ.get(VARIABLE)
    path = named or (str(CHECKOUT) if CHECKOUT.exists() else "libdcf.so")
    remedy = f"build it with `src/cargo.sh build --release`, or let {VARIABLE} name it"
    try:
        library = ctypes.CDLL(path, use_errno=True)
        version = library.dcf_abi_version()
        functions = [(name, getattr(library, name)) for name in _FUNCTIONS]
    except OSError:
        raise LinksUnusable(f"libdcf cannot be loaded from {path}: {remedy}") from None
    except AttributeError:
        raise LinksUnusable(f"{path} is no libdcf that knows links: {remedy}") from None
    if version != ABI_VERSION:
        raise LinksUnusable(f"{path} has version {version}, not {ABI_VERSION}: {remedy}")
    for name, function in functions:
        function.argtypes = _FUNCTIONS[name]
        function.restype = c_int32
    library.dcf_links_free.restype = None
    library.dcf_describe.restype = c_char_p
    return library


_OUT = (POINTER(c_void_p), POINTER(c_size_t), POINTER(_Address))
_FUNCTIONS = {
    "dcf_links_new": (c_char_p, c_char_p, POINTER(c_void_p)),
    "dcf_links_free": (c_void_p,),
    "dcf_links_fd": (c_void_p,),
    "dcf_links_next_timeout": (c_void_p, POINTER(c_uint64)),
    "dcf_links_step": (c_void_p, c_uint64, c_uint64),
    "dcf_links_next_datagram": (c_void_p, *_OUT),
    "dcf_links_next_challenge": (c_void_p, *_OUT),
    "dcf_links_challenged": (c_void_p, c_char_p, c_size_t, POINTER(_Address), c_uint64, c_uint64),
    "dcf_links_next_change": (c_void_p, POINTER(_Change)),
    "dcf_links_link": (c_void_p, c_size_t, POINTER(_Link)),
    "dcf_links_put": (c_void_p, POINTER(_Address), c_char_p, c_size_t, c_uint64),
    "dcf_links_flush": (c_void_p,),
    "dcf_links_counter": (
        c_void_p,
        c_size_t,
        POINTER(c_char_p),
        POINTER(c_char_p),
        POINTER(c_uint64),
    ),
    "dcf_describe": (c_int32,),
}
