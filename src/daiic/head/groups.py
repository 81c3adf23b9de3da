"""Which workers together hold a model that none of them can hold alone.

Nothing here keeps anything or measures: from the same numbers, which are all
whole, the same group is formed. It has as few members as suffice, and they are
as near to the one that leads as can be: over a far or slow way a model may be
had at all, but every token waits for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

FREE = 16
"""Of what each worker has for a model, one part in so many stays free."""
SPARE = 4
"""A group takes up to one part in so many more than the least, for several tasks at once."""
RINGS = (1_000, 10_000, 50_000)
"""Round trips, in µs, up to which a member is near, in reach, or far."""
SLOW = 12_500_000
"""Bytes a second below which a way counts as one ring further; 100 Mbit/s."""
LEADS = 8
"""Of all that could lead, so many are tried."""
UNKNOWN = 1
"""The ring of a way that nobody has measured."""
GIB = 30
"""Memory that differs by less than 2 to this power of bytes is alike."""
FARTHEST = 1 << 62


@dataclass(frozen=True, slots=True)
class Host:
    """A worker as the choice sees it.

    It could hold `room` bytes of a model that it leads and that `takes` so many
    there, of which it `keeps` those itself that cannot be shared, and lends `lends`.
    `rank` says how soon it has the model, the least is the soonest. `gpu` says whether
    its room is that of a GPU. `rtt` is that between head and worker in µs. `links` are its ways
    to others, by their ids: round trip in µs, and bytes a second, 0 if not measured.
    """

    id: str
    takes: int = 0
    keeps: int = 0
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

    return best((lead, _led_by(lead, lenders, most)) for lead in sorted(leads, key=order)[:LEADS])


def order(lead: Host) -> tuple[int, bool, int, int, str]:
    """Return the place of `lead` among those that could lead; the least is tried first."""
    rtt = FARTHEST if lead.rtt is None else lead.rtt
    return lead.rank, not lead.gpu, -(lead.room >> GIB), rtt, lead.id


def best(tried: Iterable[tuple[Host, Formation | None]]) -> Formation | None:
    """Return the best group of those that could lead, who come in order, each with its own."""
    found = [
        ((lead.rank, formed.ring, not lead.gpu, len(formed.members), place), formed)
        for place, (lead, formed) in enumerate(tried)
        if formed is not None
    ]
    return min(found, key=itemgetter(0))[1] if found else None


def _led_by(lead: Host, lenders: Sequence[Host], most: int) -> Formation | None:
    if usable(lead.room) < lead.keeps:
        return None
    ways = sorted(
        (-host.lends, ring_of(lead, host), host.id, place)
        for place, host in enumerate(lenders)
        if host.id != lead.id and host.lends > 0
    )
    for ring in range(len(RINGS) + 2):
        within = [lenders[place] for _, away, _, place in ways if away <= ring]
        total, members = usable(lead.room), list[Host]()
        for host in within[:most]:
            if members and total >= lead.takes:
                break
            total += usable(host.lends)
            members.append(host)
        if members and total >= lead.takes:
            return _shared(lead, members, ring)
    return None


def _shared(lead: Host, members: list[Host], ring: int) -> Formation:
    """Give a GPU that leads all that it can hold, and the others parts in proportion to their room.

    What crosses the way to a member costs time, and a CPU's layers are the slowest.
    """
    keeps = min(lead.keeps, lead.takes)
    own = usable(lead.room) - keeps
    rooms = [usable(host.lends) for host in members]
    lent = sum(rooms)
    shared = lead.takes - keeps
    wanted = min(shared + shared // SPARE, own + lent)
    own = min(own, shared) if lead.gpu else wanted * own // (own + lent)
    rest = min(wanted - own, lent)
    parts = tuple(
        (host.id, max(rest * room // lent, 1)) for host, room in zip(members, rooms, strict=True)
    )
    return Formation(lead.id, keeps + own, parts, ring)


def usable(room: int) -> int:
    """Return how many of so many bytes a group may have."""
    return room - room // FREE


def ring_of(lead: Host, member: Host) -> int:
    """Return how far a member is from the one that leads; 0 is the nearest."""
    rtt, speed = lead.links.get(member.id) or member.links.get(lead.id) or (None, 0)
    if rtt is None:
        if lead.rtt is None or member.rtt is None:
            return UNKNOWN
        rtt = max(lead.rtt, member.rtt)
    return sum(rtt > bound for bound in RINGS) + (0 < speed < SLOW)
