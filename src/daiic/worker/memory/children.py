"""What child processes hold of cards, which torch in this process does not know."""

from collections import Counter
from collections.abc import Mapping


class ChildMemory:
    """Bytes by the index of the card, as they were planned when the children were started."""

    def __init__(self) -> None:
        self._held: Counter[int] = Counter()

    def take(self, shares: Mapping[int, int]) -> None:
        """Note that a child takes `shares`."""
        self._held.update(shares)

    def give_back(self, shares: Mapping[int, int]) -> None:
        """Note that a child that took `shares` is gone."""
        self._held.subtract(shares)

    def on(self, index: int) -> int:
        """Return the bytes that all children hold on a card."""
        return self._held[index]

    @property
    def total(self) -> int:
        """Bytes on all cards."""
        return self._held.total()
