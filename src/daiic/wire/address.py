"""Addresses as people write them: "host:port", "[ipv6]:port"."""

import ipaddress
import socket

from daiic.background import in_thread
from daiic.wire.messages import Address


def split_host_port(text: str) -> tuple[str, int]:
    """Return host and port of "host:port" or "[ipv6]:port".

    Raises:
        ValueError: if `text` is not of that form.
    """
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    well_formed = separator and host and port.isdecimal() and (bracketed or ":" not in host)
    if not well_formed or int(port) > 65535:
        raise ValueError(f'"{text}" is not an address: write host:port, e.g. 127.0.0.1:7717')
    return host, int(port)


async def resolve(text: str) -> Address:
    """Return the UDP socket address of "host:port", an IPv4 one if the name has both.

    Raises:
        ValueError: if `text` is not of that form.
        OSError: if the name cannot be resolved.
    """
    host, port = split_host_port(text)
    # An event loop's own look-up keeps the process from ending while a resolver is silent.
    found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM))
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    address: Address = found[0][4]
    return address


def numeric(text: str) -> Address | None:
    """Return the address that "address:port" is, `None` if it is a name or malformed."""
    try:
        host, port = split_host_port(text)
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (str(address), port) if address.version == 4 else (str(address), port, 0, 0)


def is_loopback(address: Address) -> bool:
    """Return whether a resolved address is reached from this machine only."""
    return ipaddress.ip_address(address[0].partition("%")[0]).is_loopback


def format_address(address: Address) -> str:
    """Return a resolved address as people write it."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
