"""The spread of a rumor among the members of its group, as its origin sees it; and its copies at each holder.

Invariant: a member counts as confirmed only by its own message: it answered a query, announced the rumor's id, or sent
a copy. A request for the rumor does not count, because its sender lacks the rumor.

Up to `EXACT_MEMBERS` members all are queried, and the count is exact once all have answered. Of more a random sample is
queried, and the count is estimated: the confirmed members, and of the rest the share of positive answers in the sample.
With s answers the standard error of that share p is sqrt(p (1 - p) / s), at most 4.5 % for 128.

Each holder counts the copies of a rumor that come, while it holds the rumor: in the rumor itself, so that this needs no
message, no memory besides, and no bound of its own.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import msgspec

from .effects import Send
from .gossip_messages import Query
from .recent import remember
from .rumors import Held

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .effects import Effect
    from .group_members import GroupMembers
    from .rumors import RumorGroup

__all__ = ["EXACT_MEMBERS", "Spread", "Tracked", "Tracking", "estimate"]

EXACT_MEMBERS: Final = 128
"""The most members of which each is queried, and the size of the sample of more."""


class Spread(msgspec.Struct, frozen=True):
    """The spread of a rumor. The origin counts if it is a member.

    Attributes:
        members: the number of members.
        confirmed: how many are known to have it.
        denied: how many answered last that they lack it.
        estimated: an estimate of how many have it, `confirmed` or more.
        groupless: an estimate of how many lack the group; a member that does not answer does not count.
        first_groupless: the name of one that lacks the group; empty if none does.
    """

    members: int
    confirmed: int
    denied: int
    estimated: float
    groupless: float = 0.0
    first_groupless: str = ""


def estimate(members: int, confirmed: int, yes: int, no: int) -> float:
    """Return an estimate of how many of `members` have a rumor.

    Args:
        members: the number of members.
        confirmed: how many are known to have it.
        yes: positive answers in a random sample.
        no: negative answers in the sample.
    """
    unknown = max(0, members - confirmed - no)
    share = yes / (yes + no) if yes + no else 0.0
    return confirmed + share * unknown


class Tracked(msgspec.Struct, eq=False):
    """The spread of one rumor, as its origin sees it.

    Attributes:
        gid: the group.
        confirmed: names that are known to have it.
        denied: names that answered last that they lack it.
        sampled: names in the sample; empty as long as all are queried.
        groupless: names that answered last that they lack the group, in the order of their answers.
    """

    gid: str
    confirmed: set[str] = msgspec.field(default_factory=set)
    denied: set[str] = msgspec.field(default_factory=set)
    sampled: dict[str, None] = msgspec.field(default_factory=dict)
    groupless: dict[str, None] = msgspec.field(default_factory=dict)

    def to_query(self, members: GroupMembers) -> list[str]:
        """Return the names to query now: those of all members, or of the sample, that aren't confirmed."""
        if len(members) > EXACT_MEMBERS and not self.sampled:
            self.sampled = dict.fromkeys(members.random.sample(members.names, EXACT_MEMBERS))
        queried = members.names if len(members) <= EXACT_MEMBERS else self.sampled
        return [name for name in queried if name != members.me and name not in self.confirmed]

    def spread(self, members: GroupMembers) -> Spread:
        """Return how far it has spread among `members`."""
        count = len(members)
        confirmed = sum(name in members for name in self.confirmed) + members.is_member
        denied = sum(name in members for name in self.denied)
        groupless = [name for name in self.groupless if name in members]
        first = groupless[0] if groupless else ""
        if not self.sampled:
            return Spread(count, confirmed, denied, float(confirmed), len(groupless), first)
        yes = sum(name in self.confirmed or name == members.me for name in self.sampled)
        no = sum(name in self.denied for name in self.sampled)
        estimated, share = estimate(count, confirmed, yes, no), len(groupless) / len(self.sampled)
        return Spread(count, confirmed, denied, estimated, share * count, first)


class Tracking:
    """The latest rumors of this node, whose spread it tracks.

    Attributes:
        by_id: the spread of each.
    """

    __slots__ = ("_groups", "_most", "by_id")

    def __init__(self, groups: Mapping[str, RumorGroup], most: int) -> None:
        """Track at most `most` rumors of `groups`."""
        self.by_id: dict[bytes, Tracked] = {}
        self._groups = groups
        self._most = most

    def begin(self, gid: str, rumor_id: bytes) -> None:
        """Track a rumor."""
        remember(self.by_id, rumor_id, Tracked(gid), self._most)

    def query(self, gid: str, rumor_id: bytes) -> list[Effect]:
        """Query the members that aren't confirmed."""
        group, tracked = self._groups.get(gid), self.by_id.get(rumor_id)
        if group is None or tracked is None:
            return []
        query = Query(gid, rumor_id)
        return [Send(name, query) for name in tracked.to_query(group.members)]

    def spread(self, gid: str, rumor_id: bytes) -> Spread | None:
        """Return how far a rumor has spread; None if it isn't tracked."""
        group, tracked = self._groups.get(gid), self.by_id.get(rumor_id)
        return None if group is None or tracked is None else tracked.spread(group.members)

    def ask_again(self, rumor_id: bytes) -> None:
        """Forget which members lack the group of a rumor: they may have got it since."""
        tracked = self.by_id.get(rumor_id)
        if tracked is not None:
            tracked.groupless.clear()

    def note(self, rumor_id: bytes, source: str, *, has: bool = True, knows_group: bool = True) -> None:
        """Record whether `source` has a rumor, and knows its group, if that is tracked and `source` is a member."""
        tracked = self.by_id.get(rumor_id)
        group = None if tracked is None else self._groups.get(tracked.gid)
        if tracked is None or group is None or source not in group.members:
            return
        if has or knows_group:
            tracked.groupless.pop(source, None)
        else:
            tracked.groupless[source] = None
        if has:
            tracked.confirmed.add(source)
            tracked.denied.discard(source)
        elif source not in tracked.confirmed:
            tracked.denied.add(source)

    def note_copy(self, gid: str, rumor_id: bytes, source: str) -> None:
        """Count another copy of a rumor, if it is held, and record that `source` has it."""
        group = self._groups.get(gid)
        held = None if group is None else group.held.get(rumor_id)
        if type(held) is Held:
            held.copies += 1
        if rumor_id in self.by_id:
            self.note(rumor_id, source)

    def held(self, gid: str, rumor_id: bytes) -> Held | None:
        """Return a rumor that this node holds; None if it holds no such one."""
        group = self._groups.get(gid)
        held = None if group is None else group.held.get(rumor_id)
        return held if isinstance(held, Held) else None

    def latest(self, most: int) -> list[Held]:
        """Return the rumors that this node holds, of all groups, the latest first; at most `most`."""
        found: list[Held] = []
        for group in self._groups.values():
            rumors = (held for held in reversed(group.held.values()) if isinstance(held, Held))
            found += itertools.islice(rumors, most)
        return sorted(found, key=lambda held: held.received_at, reverse=True)[:most]

    def drop_group(self, gid: str) -> None:
        """Stop tracking the rumors of a group."""
        self.by_id = {key: tracked for key, tracked in self.by_id.items() if tracked.gid != gid}
