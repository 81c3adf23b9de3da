"""Which workers together hold a model that none of them can hold alone.

Nothing here keeps anything or measures: from the same numbers, which are all
whole, the same group is formed. It has as few members as suffice, and they are
as near to the one that leads as can be: over a far or slow way a model may be
had at all, but every token waits for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

MARGIN = 16
"""A group has room for a sixteenth more than the model is expected to take."""
RINGS = (1_000, 10_000, 50_000)
"""Round trips, in µs, up to which a member is near, in reach, or far."""
SLOW = 12_500_000
"""Bytes a second below which a way counts as one ring further; 100 Mbit/s."""
LEADS = 8
"""Of all that could lead, so many are tried."""
UNKNOWN = 1
"""The ring of a way that nobody has measured."""


@dataclass(frozen=True, slots=True)
class Host:
    """A worker as the choice sees it.

    It could hold `room` bytes of a model that it leads and that `takes` so many
    there, and lends `lends`. `rank` says how soon it has the model, the least is
    the soonest. `rtt` is that between head and worker in µs. `links` are its ways
    to others, by their ids: round trip in µs, and bytes a second, 0 if not measured.
    """

    id: str
    takes: int = 0
    room: int = 0
    lends: int = 0
    rank: int = 0
    gpu: bool = False
    rtt: int | None = None
    links: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Formation:
    """The group: who leads and with how many bytes, and those of each member, by their ids."""

    lead: str
    lead_bytes: int
    members: tuple[tuple[str, int], ...]
    ring: int


def form(leads: Iterable[Host], lenders: Sequence[Host], most: int) -> Formation | None:
    """Return the group for a model that one of `leads` has, `None` if all together are too few.

    It has at most `most` members besides the one that leads.
    """

    def order(lead: Host) -> tuple[int, bool, int, str]:
        return lead.rank, not lead.gpu, -lead.room, lead.id

    best: tuple[tuple[int, int, int, int], Formation] | None = None
    for place, lead in enumerate(sorted(leads, key=order)[:LEADS]):
        formed = _led_by(lead, lenders, most)
        if formed is not None:
            key = lead.rank, formed.ring, len(formed.members), place
            if best is None or key < best[0]:
                best = key, formed
    return best[1] if best else None


def _led_by(lead: Host, lenders: Sequence[Host], most: int) -> Formation | None:
    enough = lead.takes + lead.takes // MARGIN
    ways = sorted(
        (-host.lends, ring_of(lead, host), host.id, place)
        for place, host in enumerate(lenders)
        if host.id != lead.id and host.lends > 0
    )
    for ring in range(len(RINGS) + 2):
        within = [lenders[place] for _, away, _, place in ways if away <= ring]
        total, members = lead.room, list[Host]()
        for host in within[:most]:
            if members and total >= enough:
                break
            total += host.lends
            members.append(host)
        if members and total >= enough:
            return _shared(lead, members, total, ring)
    return None


def _shared(lead: Host, members: list[Host], total: int, ring: int) -> Formation:
    """Give each a part in proportion to its room, so that all keep some of it free."""
    parts = tuple((host.id, max(lead.takes * host.lends // total, 1)) for host in members)
    return Formation(lead.id, max(lead.takes - sum(part for _, part in parts), 0), parts, ring)


def ring_of(lead: Host, member: Host) -> int:
    """Return how far a member is from the one that leads; 0 is the nearest."""
    rtt, speed = lead.links.get(member.id) or member.links.get(lead.id) or (None, 0)
    if rtt is None:
        if lead.rtt is None or member.rtt is None:
            return UNKNOWN
        rtt = max(lead.rtt, member.rtt)
    return sum(rtt > bound for bound in RINGS) + (0 < speed < SLOW)
