"""Which hosts the gateway fetches from, and which addresses they may have.

A name is resolved once, and a connection goes to the address that was checked: what the name means
a moment later does not matter. So no URL, and no redirect, leads into the gateway's own network,
unless the operator has named an address of it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from daiic.background import in_thread

PORTS = {"http": 80, "https": 443}
LONGEST_URL = 2048
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that a network may translate to IPv4 ones (RFC 6052)."""


class NotAllowed(Exception):
    """A URL that is not fetched; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a URL leads: `address` is the one to connect to, `host` what it is called there."""

    scheme: str
    host: str
    port: int
    target: str
    address: str

    @property
    def url(self) -> str:
        """The URL with its host."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def url_of_address(self) -> str:
        """The URL with the address in the place of its host."""
        return f"{self.scheme}://{_bracketed(self.address)}:{self.port}{self.target}"

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        usual = self.port == PORTS[self.scheme]
        return _bracketed(self.host) + ("" if usual else f":{self.port}")

    def redirect(self, location: str) -> str:
        """Return the URL that `location`, in an answer from here, leads to."""
        return urljoin(self.url, location)


async def source_of(url: str, allowed: Iterable[str]) -> Source:
    """Return where `url` leads, if one of `allowed` names its host.

    Each of those is a host, for http and https at their usual ports, or host:port.

    Raises:
        NotAllowed: if it does not, or its host has an address that is not public. An address
            that is named itself may be any.
        OSError: if the host cannot be resolved.
    """
    scheme, host, port, target = _split(url)
    names = {name.lower().rstrip(".") for name in allowed}
    bracketed = _bracketed(host)
    if f"{bracketed}:{port}" not in names and not (port == PORTS[scheme] and bracketed in names):
        raise NotAllowed(
            f"the gateway does not fetch from {bracketed}:{port}: send the file as a data URL, or "
            "ask the operator to name the host in allowed_media_hosts"
        )
    if _address(host) is not None:
        return Source(scheme, host, port, target, host)
    # An event loop's own look-up keeps the process from ending while a resolver is silent.
    found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise NotAllowed(
                f"the gateway does not fetch from {host}: it has the address {address}, which is "
                "not public. An operator who wants that names the address in allowed_media_hosts"
            )
    return Source(scheme, host, port, target, min(addresses, key=lambda one: ":" in one))


def is_public(address: str) -> bool:
    """Return whether `address` is one of the Internet's, and stands for no other."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or ip in TRANSLATED:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _split(url: str) -> tuple[str, str, int, str]:
    if len(url) > LONGEST_URL:
        raise NotAllowed(f"the URL is longer than {LONGEST_URL} characters: send a shorter one")
    # What parsers read in different ways is not a URL.
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise NotAllowed("the URL has characters that must be escaped: escape them")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise NotAllowed("it is not a valid URL: send one, or a data URL") from None
    if parts.scheme not in PORTS or not host:
        raise NotAllowed("only data, http and https URLs are read: send one of these")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise NotAllowed("the URL has a user's name or password: leave it out")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host.rstrip("."), port or PORTS[parts.scheme], target


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
