"""How many members are known to have a rumor, as its origin sees it.

Invariant: a member counts as confirmed only when it said so itself: it answered a query, announced the rumor's id, or
sent a copy. One that asks for the rumor doesn't count: it hasn't got it yet.

Up to `EXACT_MEMBERS` members all are asked, and the count is exact once all have answered. Of more a random sample is
asked, and the count is estimated: those confirmed, and of the rest the share that said yes in the sample. With s
answers the standard error of that share p is sqrt(p (1 - p) / s), at most 4.5 % for 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

__all__ = ["EXACT_MEMBERS", "Spread", "Tracked", "Tracking", "estimate"]

EXACT_MEMBERS: Final = 128
"""Up to here every member is asked; and the size of the sample for more."""


class Spread(msgspec.Struct, frozen=True):
    """How far a rumor has come.

    Attributes:
        members: how many there are, the origin included if it is one.
        confirmed: how many are known to have it, the origin included if it is one.
        denied: how many answered last that they don't.
        estimated: how many have it, by the estimate of this module; `confirmed` or more.
    """

    members: int
    confirmed: int
    denied: int
    estimated: float


def estimate(members: int, confirmed: int, yes: int, no: int) -> float:
    """Return how many of `members` have a rumor.

    Args:
        members: how many there are.
        confirmed: how many of them are known to have it.
        yes: how many in a random sample said that they have it.
        no: how many in the sample said that they don't.
    """
    unknown = max(0, members - confirmed - no)
    share = yes / (yes + no) if yes + no else 0.0
    return confirmed + share * unknown


class Tracked:
    """What the origin knows of the spread of one rumor.

    Attributes:
        gid: the group.
        confirmed: names of those that have it.
    """

    __slots__ = ("_denied", "_sampled", "confirmed", "gid")

    def __init__(self, gid: str) -> None:
        self.gid: str = gid
        self.confirmed: set[str] = set()
        self._denied: set[str] = set()
        self._sampled: dict[str, None] = {}

    def confirm(self, name: str) -> None:
        """Take that a member has it."""
        self.confirmed.add(name)
        self._denied.discard(name)

    def deny(self, name: str) -> None:
        """Take that a member said it hasn't got it."""
        if name not in self.confirmed:
            self._denied.add(name)

    def to_ask(self, members: Sequence[str], me: str, random: Random) -> list[str]:
        """Return whom to ask now: all that aren't confirmed, or those of the sample that aren't."""
        if len(members) <= EXACT_MEMBERS:
            asked = members
        else:
            if not self._sampled:
                self._sampled = dict.fromkeys(random.sample(members, EXACT_MEMBERS))
            asked = list(self._sampled)
        return [name for name in asked if name != me and name not in self.confirmed]

    def spread(self, members: Sequence[str], me: str, *, is_member: bool) -> Spread:
        """Return what is known."""
        count = len(members)
        known = set(members) if self.confirmed else set()
        confirmed = len(self.confirmed & known) + is_member
        denied = len(self._denied & known)
        if not self._sampled:
            return Spread(count, confirmed, denied, float(confirmed))
        yes = sum(name in self.confirmed or name == me for name in self._sampled)
        no = sum(name in self._denied for name in self._sampled)
        return Spread(count, confirmed, denied, estimate(count, confirmed, yes, no))


class Tracking:
    """The rumors of one origin whose spread it follows, the last so many of them.

    Attributes:
        tracked: what is known of each.
    """

    __slots__ = ("_most", "tracked")

    def __init__(self, most: int) -> None:
        self.tracked: dict[bytes, Tracked] = {}
        self._most = most

    def begin(self, gid: str, rumor_id: bytes) -> None:
        """Follow a rumor."""
        self.tracked[rumor_id] = Tracked(gid)
        if len(self.tracked) > self._most:
            del self.tracked[next(iter(self.tracked))]

    def get(self, rumor_id: bytes) -> Tracked | None:
        """Return what is known of a rumor that is followed."""
        return self.tracked.get(rumor_id)

    def drop_group(self, gid: str) -> None:
        """Follow the rumors of a group no longer."""
        self.tracked = {key: tracked for key, tracked in self.tracked.items() if tracked.gid != gid}
