"""The heads that a client knows: configured ones, and those that they name.

A head answers an empty HEARTBEAT with the heads that its workers report to.
Tasks go to the first one that is alive, in the configured order; a head that
is shutting down gets tasks only if there is no other.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daiic.wire.address import format_address, is_loopback, numeric, resolve
from daiic.wire.messages import Address

HEAD_SILENCE = 4.0
"""Seconds without a sign of life after which a head counts as lost."""
FORGET_AFTER = 60.0
"""Seconds for which a silent head that no other head names is kept."""
MOST = 16
"""Heads known at most, however many are named."""

log = logging.getLogger(__name__)


async def resolve_heads(names: Sequence[str]) -> list[Address]:
    """Return the addresses of the "host:port" that are found.

    Raises:
        ValueError: if one is malformed.
        OSError: if none is found.
    """
    found: list[Address] = []
    lost: list[tuple[str, OSError]] = []
    outcomes = await asyncio.gather(*map(resolve, names), return_exceptions=True)
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, OSError):
            lost.append((name, outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            found.append(outcome)
    if not found:
        raise lost[0][1]
    for name, error in lost:
        log.warning("continuing without head %s, which cannot be found: %s", name, error)
    return found


@dataclass(slots=True)
class Head:
    """One head; times are of the event loop's clock."""

    configured: bool
    told_at: float
    heard_at: float | None = None
    draining: bool = False

    def alive(self, now: float) -> bool:
        """Return whether it has been heard recently."""
        return self.heard_at is not None and now - self.heard_at < HEAD_SILENCE


class Heads:
    """Heads by address, the preferred first; iterates over the addresses."""

    def __init__(self, configured: Sequence[Address], remote: bool) -> None:
        """`remote`: whether heads on other machines may be learned of."""
        self._heads = {address: Head(configured=True, told_at=0.0) for address in configured}
        self._remote = remote
        self._first = configured[0]

    def __iter__(self) -> Iterator[Address]:
        return iter(list(self._heads))

    def __contains__(self, address: Address) -> bool:
        return address in self._heads

    def heard(self, address: Address, now: float) -> None:
        """Note a sign of life."""
        head = self._heads.get(address)
        if head is not None:
            if not head.alive(now):
                head.draining = False
            head.heard_at = now

    def lost(self, address: Address) -> None:
        """Note that nothing reaches the head any more."""
        if address in self._heads:
            self._heads[address].heard_at = None

    def draining(self, address: Address, draining: bool) -> None:
        """Note whether a head is shutting down."""
        if address in self._heads:
            self._heads[address].draining = draining

    def told(self, names: Sequence[str], now: float) -> None:
        """Learn of heads that another one names, "address:port"."""
        for address in map(numeric, names):
            if address is None:
                continue
            if address in self._heads:
                self._heads[address].told_at = now
            elif (
                len(self._heads) < MOST
                and len(address) == len(self._first)  # of the same family as our socket
                and (self._remote or is_loopback(address))
            ):
                log.debug("learned of head %s", format_address(address))
                self._heads[address] = Head(configured=False, told_at=now)

    def expire(self, now: float) -> None:
        """Forget those that are silent and that nobody has named for a while."""
        for address, head in list(self._heads.items()):
            if not (head.configured or head.alive(now)) and now - head.told_at > FORGET_AFTER:
                del self._heads[address]

    def alive(self, address: Address, now: float) -> bool:
        """Return whether the head has been heard recently."""
        return address in self._heads and self._heads[address].alive(now)

    def best(self, now: float) -> Address:
        """Return the head to give a task to, the first of all if none is alive."""
        alive = [address for address, head in self._heads.items() if head.alive(now)]
        serving = (address for address in alive if not self._heads[address].draining)
        return next(serving, alive[0] if alive else self._first)

    def other(self, than: Address, now: float) -> Address | None:
        """Return another head that takes tasks."""
        for address, head in self._heads.items():
            if address != than and head.alive(now) and not head.draining:
                return address
        return None
