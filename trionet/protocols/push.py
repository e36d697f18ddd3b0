"""Where a rumor is pushed to at once: the part of gossip that is for speed.

Invariant: a `Push` decides nothing about certainty. Whatever it names, be it nobody or a node that is dead, the lazy
push and the anti-entropy of `gossip` bring the rumor to everyone in the end.

`RandomPush` is rumor mongering by Demers et al. 1987, section 1.4, in its form "blind, coin": each node passes a rumor
on to a few members picked at random, once. The others are for small sets of members that are known beforehand: `Direct`
takes one hop and n - 1 messages; `Star` takes two hops, and lets a hub gather what comes within a time, so that many
rumors share a message.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .rumors import RumorGroup

__all__ = ["LAST_HOP", "Direct", "Push", "RandomPush", "Star", "Step", "clamped", "default_subset", "most_hops"]

LAST_HOP: Final = 255
"""What a copy says that isn't to be passed on."""


def default_subset(members: int) -> int:
    """Return how many members a rumor is passed on to: 2 of 10, 3 of 100 and 1,000, 4 of 10,000, 5 of 100,000.

    What push doesn't reach, lazy push does, at the price of an id; so this is less than what push alone would need:
    with 3, push alone reaches 94 %, and each member receives 3.1 copies in all.
    """
    return 1 + math.ceil(math.log10(members) * 2 / 3) if members > 1 else 1


def clamped(subset: int, others: int) -> int:
    """Return `subset`, but at least 1, and at most how many other members there are."""
    return max(1, min(subset, others))


def most_hops(members: int, subset: int) -> int:
    """Return for how many rounds a rumor is passed on: twice what the slowest round of doublings would take, and 4."""
    return min(LAST_HOP - 1, 4 + math.ceil(2 * math.log(max(2, members), max(2, subset))))


class Step(NamedTuple):
    """What to do with a rumor now.

    Attributes:
        targets: who gets it.
        hops: what the copies say.
        wait_s: how long it may wait for company.
        told: who is to be told only that it is here.
    """

    targets: Sequence[str]
    hops: int
    wait_s: float = 0.0
    told: Sequence[str] = ()


class Push(Protocol):
    """Where the rumors of one group go at once, at one node."""

    def adjust(self, group: RumorGroup) -> None:
        """Take that the members have changed."""
        ...

    def step(self, group: RumorGroup, source: str | None, hops: int, now: float) -> Step:
        """Return what to do with a rumor that this node has now.

        Args:
            group: what it is for.
            source: who it came from; None for this node itself.
            hops: what the copy said that came.
            now: the time.
        """
        ...

    def neighbours(self, group: RumorGroup, count: int, now: float) -> list[str]:
        """Return at most `count` members to tell of ids."""
        ...

    def sent(self, targets: Sequence[str], now: float) -> None:
        """Take that something goes to these members."""
        ...

    def heard(self, source: str, now: float) -> None:
        """Take that something came from a member."""
        ...


class RandomPush:
    """To a few members picked afresh each time."""

    __slots__ = ("_count", "_most_hops", "_subset", "_wait_s")

    def __init__(self, subset: int | Callable[[list[str]], int] | None = None, *, wait_s: float = 0.0) -> None:
        """Begin.

        Args:
            subset: how many; a number, a function of the list of members, or None for `default_subset`.
            wait_s: how long a rumor may wait for company.
        """
        self._subset = subset
        self._count = 1
        self._most_hops = 1
        self._wait_s = wait_s

    def adjust(self, group: RumorGroup) -> None:
        """Ask the function again.

        Raises:
            Exception: whatever it raises.
        """
        subset = self._subset
        if subset is None:
            subset = default_subset(len(group.members))
        elif callable(subset):
            subset = int(subset(list(group.members)))
        self._count = clamped(subset, group.others())
        self._most_hops = most_hops(len(group.members), self._count)

    def step(self, group: RumorGroup, source: str | None, hops: int, now: float) -> Step:
        """Pick members, unless it has been passed on often enough."""
        del now
        if hops >= self._most_hops:
            return Step((), hops)
        return Step(group.pick(self._count, without=source or ""), hops + 1, self._wait_s)

    def neighbours(self, group: RumorGroup, count: int, now: float) -> list[str]:
        """Pick members."""
        del now
        return group.pick(count)

    def sent(self, targets: Sequence[str], now: float) -> None:
        """Do nothing."""

    def heard(self, source: str, now: float) -> None:
        """Do nothing."""


class Direct(RandomPush):
    """From the origin to everybody; nobody passes it on."""

    __slots__ = ()

    def adjust(self, group: RumorGroup) -> None:
        """Do nothing: the step asks the group."""

    def step(self, group: RumorGroup, source: str | None, hops: int, now: float) -> Step:
        """Name all at the origin, and nobody elsewhere."""
        del now, hops
        others = group.pick(len(group.members)) if source is None else ()
        return Step(others, LAST_HOP, self._wait_s)


class Star:
    """Up to a hub, which passes it down to all others: two hops, and few messages when it waits for company.

    The hub is the first member, in the order given, that isn't suspected; when the very first one is suspected, the
    first that was heard from lately. A node suspects another one that it has sent something to and heard nothing from
    for `failover_s`; it trusts it again when it hears from it. A copy says whether it is on its way up or down; so
    nodes may hold different members to be the hub, and do no harm.
    """

    __slots__ = ("_asked_at", "_down_wait_s", "_failover_s", "_heard_at", "_up_wait_s")

    _UP: Final = 1

    def __init__(self, *, up_wait_s: float, down_wait_s: float, failover_s: float) -> None:
        """Begin.

        Args:
            up_wait_s: how long a rumor may wait for company on its way to the hub.
            down_wait_s: the same on the way down.
            failover_s: after how much silence another hub is taken; more than the two waits and a round trip.
        """
        self._up_wait_s = up_wait_s
        self._down_wait_s = down_wait_s
        self._failover_s = failover_s
        self._asked_at: dict[str, float] = {}
        self._heard_at: dict[str, float] = {}

    def adjust(self, group: RumorGroup) -> None:
        """Forget about those that are gone."""
        known = set(group.members)
        self._asked_at = {name: at for name, at in self._asked_at.items() if name in known}
        self._heard_at = {name: at for name, at in self._heard_at.items() if name in known}

    def hub(self, group: RumorGroup, now: float) -> str:
        """Return who is the hub, as this node sees it."""
        trusted = [name for name in group.members if name == group.me or not self._is_suspected(name, now)]
        if not trusted or trusted[0] == group.members[0]:
            return trusted[0] if trusted else group.me
        # The first one is gone, and others with it perhaps: rather one that has given a sign of life since.
        since = now - 4 * self._failover_s
        return next((name for name in trusted if self._heard_at.get(name, -math.inf) > since), trusted[0])

    def _is_suspected(self, name: str, now: float) -> bool:
        return now - self._asked_at.get(name, now) > self._failover_s

    def step(self, group: RumorGroup, source: str | None, hops: int, now: float) -> Step:
        """Up at the origin, down at the hub."""
        if source is None:
            hub = self.hub(group, now)
            if hub != group.me:
                return Step((hub,), self._UP, self._up_wait_s)
            return Step(group.pick(len(group.members)), LAST_HOP, self._down_wait_s)
        if hops != self._UP:
            return Step((), LAST_HOP)
        down = [name for name in group.members if name not in (group.me, source)]
        return Step(down, LAST_HOP, self._down_wait_s, (source,))

    def neighbours(self, group: RumorGroup, count: int, now: float) -> list[str]:
        """Name the hub first, then others."""
        if count <= 0:
            return []
        hub = self.hub(group, now)
        return [hub, *group.pick(count - 1, without=hub)] if hub != group.me else group.pick(count)

    def sent(self, targets: Sequence[str], now: float) -> None:
        """Begin to wait for signs of life."""
        for to in targets:
            self._asked_at.setdefault(to, now)

    def heard(self, source: str, now: float) -> None:
        """Take the sign of life."""
        self._asked_at.pop(source, None)
        self._heard_at[source] = now
