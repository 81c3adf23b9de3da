"""How many connections may be open; when there are too many, the one idle for longest is closed."""

from typing import Protocol


class Idle(Protocol):
    """A connection on which no request runs."""

    def evict(self) -> None:
        """Close, since another connection needs the place."""


class ConnectionLimit:
    """Knows which connections are idle, those for longest first."""

    def __init__(self, most: int) -> None:
        """`most` connections may be open."""
        self.most = most
        self._idle: dict[Idle, None] = {}

    @property
    def idle_count(self) -> int:
        """How many connections are without a request."""
        return len(self._idle)

    def mark_idle(self, connection: Idle) -> None:
        """Note that `connection` has no request from now on."""
        self._idle.pop(connection, None)
        self._idle[connection] = None

    def unmark_idle(self, connection: Idle) -> None:
        """Note that `connection` has a request, or is closed."""
        self._idle.pop(connection, None)

    def evict_idle(self) -> bool:
        """Close the connection that has been idle for longest; `False` if none is idle."""
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        self.unmark_idle(longest)
        longest.evict()
        return True
