"""Which URLs a login may go through."""

from urllib.parse import urlsplit

from daiic.wire.address import is_loopback


def is_safe_url(url: object) -> bool:
    """Return whether what is sent to `url` cannot be read on the way: https, or this machine."""
    if not isinstance(url, str) or len(url) > 2000:
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (
        parts.scheme == "http" and (host == "localhost" or _is_loopback(host))
    )


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback((host, 0))
    except ValueError:
        return False
