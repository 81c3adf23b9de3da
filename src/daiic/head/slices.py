"""Which like workers together compute a model that none of them can hold, a slice each.

As with groups of lenders, nothing is kept here or measured. All slices are of one size, and
their number divides one that the model has, such as that of its heads. There are as few as
suffice, as near to each other as can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from daiic.head.groups import LEADS, RINGS, Formation, Host, best, order, ring_of


@dataclass(frozen=True, slots=True)
class Slicer:
    """A worker that has the model, and could compute a slice of it.

    `host` is it as groups see it: `room` is what it has for a slice if it leads, `lends` if it
    does not. Of the model, `divided` bytes are shared by all and `each` needs so many besides;
    the number of slices divides `most`. Only those that are `like` each other, and have the same
    model, work together.
    """

    host: Host
    like: str
    divided: int
    each: int
    most: int

    def needs(self, slices: int) -> int:
        """Return the bytes of one of so many slices."""
        return self.each + -(-self.divided // slices)

    def works_with(self, other: "Slicer") -> bool:
        """Return whether both compute the same, as far as can be told from here."""
        same = (self.like, self.divided, self.each, self.most)
        return bool(self.like) and same == (other.like, other.divided, other.each, other.most)


def form_slices(slicers: Sequence[tuple[Slicer, bool]], most: int) -> Formation | None:
    """Return the group of at most `most` members besides the one that leads, `None` if none can.

    Each of `slicers` comes with whether it can lead.
    """
    leads = sorted((one for one, can_lead in slicers if can_lead), key=lambda one: order(one.host))
    return best(
        (lead.host, _led_by(lead, [one for one, _ in slicers if one.works_with(lead)], most))
        for lead in leads[:LEADS]
    )


def _led_by(lead: Slicer, others: Sequence[Slicer], most: int) -> Formation | None:
    ways = sorted(
        (ring_of(lead.host, one.host), -one.host.lends, one.host.id, one.host.lends)
        for one in others
        if one.host.id != lead.host.id
    )
    for ring in range(len(RINGS) + 2):
        for slices in range(2, min(most + 1, lead.most) + 1):
            needed = lead.needs(slices)
            if lead.most % slices or needed > lead.host.room:
                continue
            able = [name for away, _, name, lends in ways if away <= ring and lends >= needed]
            if len(able) >= slices - 1:
                members = tuple((name, needed) for name in able[: slices - 1])
                return Formation(lead.host.id, needed, members, ring)
    return None
