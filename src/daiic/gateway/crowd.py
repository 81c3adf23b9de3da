"""All connections together: when there are too many, the one that does nothing longest goes."""

from typing import Protocol


class Waiting(Protocol):
    """A connection on which no request runs."""

    def give_way(self) -> None:
        """Close, since another needs the place."""


class Crowd:
    """Knows which connections are without a request, those for longest first."""

    def __init__(self, most: int) -> None:
        """`most` connections may be open."""
        self.most = most
        self._waiting: dict[Waiting, None] = {}

    @property
    def waiting(self) -> int:
        """How many connections are without a request."""
        return len(self._waiting)

    def waits(self, connection: Waiting) -> None:
        """Note that `connection` has no request from now on."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def busy(self, connection: Waiting) -> None:
        """Note that `connection` has a request, or is gone."""
        self._waiting.pop(connection, None)

    def make_room(self) -> bool:
        """End the connection that has waited longest; `False` if none waits."""
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        self.busy(longest)
        longest.give_way()
        return True
