"""Which host a request is for, and whether only this machine can have meant itself by it.

A web page can let a name of its own resolve to 127.0.0.1 and then read, in
its visitor's browser, what is served there (DNS rebinding). The browser still
sends the page's name as Host. So a daemon that serves loopback without a key
answers only to names that can be nobody else's.
"""

import ipaddress
import re
from collections.abc import Sequence

_FIELD = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]*))(?::[0-9]{0,5})?")


class BadHost(ValueError):
    """The Host of a request is malformed, or there are several; the message says which."""


def host_named(fields: Sequence[str]) -> str:
    """Return what the values of a request's Host fields name, without port; "" if nothing.

    Raises:
        BadHost: as RFC 9112, section 3.2, wants it: to be answered with 400.
    """
    if len(fields) > 1:
        raise BadHost("the request has several Host headers: send one")
    found = _FIELD.fullmatch(fields[0].strip(" \t")) if fields else None
    if fields and found is None:
        raise BadHost("the Host header is malformed: send host or host:port")
    return (found[1] or found[2]).lower().removesuffix(".") if found else ""


def is_local_name(host: str) -> bool:
    """Return whether `host` is an address, localhost or below it, or not given at all."""
    if host in ("", "localhost") or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
