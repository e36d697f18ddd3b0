"""Eager push: the first hop of a rumor. It makes gossip fast, not certain.

Invariant: delivery does not depend on a `Push`. Whichever members it names, none or dead ones included, lazy push and
anti-entropy bring the rumor to all members (see `gossip`).

`RandomPush` is rumor mongering by Demers et al. 1987, section 1.4, in its form "blind, coin": each node forwards a
rumor once, to a few random members. `Direct` and `Star` are for small groups that are known beforehand: `Direct` needs
one hop and n - 1 messages; `Star` needs two hops, and its hub batches rumors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .group_members import GroupMembers

__all__ = ["LAST_HOP", "Direct", "Push", "RandomPush", "Star", "Step", "clamped", "default_subset", "most_hops"]

LAST_HOP: Final = 255
"""The hop count of a copy that is not forwarded."""


def default_subset(members: int) -> int:
    """Return how many members get a rumor from each holder: 2 of 10, 3 of 100 and 1,000, 4 of 10,000, 5 of 100,000.

    That is fewer than push alone would need (with 3 it reaches 94 %, at 3.1 copies per member), because lazy push
    reaches the others at the price of an id.
    """
    return 1 + math.ceil(math.log10(members) * 2 / 3) if members > 1 else 1


def clamped(subset: int, others: int) -> int:
    """Return `subset`, at least 1 and at most the number of other members."""
    return max(1, min(subset, others))


def most_hops(members: int, subset: int) -> int:
    """Return the most hops of a rumor: 4, and twice those that a tree with `subset` children per node needs."""
    return min(LAST_HOP - 1, 4 + math.ceil(2 * math.log(max(2, members), max(2, subset))))


class Step(NamedTuple):
    """The next hop of a rumor.

    Attributes:
        targets: members that get a copy.
        hops: the hop count of the copies.
        wait_s: how long the rumor may wait, to be sent in a batch.
        announced_to: members that get only the id.
        shares: for each target the last member of its share, see `tree_push`; none where targets push at random.
    """

    targets: Sequence[str]
    hops: int
    wait_s: float = 0.0
    announced_to: Sequence[str] = ()
    shares: Sequence[str] = ()


class Push(Protocol):
    """Chooses the targets of one group's rumors, at one node."""

    def adjust(self, members: GroupMembers) -> None:
        """Handle a change of the members."""

    def begin(self, members: GroupMembers, now: float) -> Step:
        """Return the first hop of a rumor."""

    def step(self, members: GroupMembers, source: str | None, hops: int, now: float) -> Step:
        """Return the next hop of a new rumor whose copy had no share, or the first one of an entry.

        Args:
            members: of the rumor's group.
            source: the node that sent the copy; None for this node itself.
            hops: the hop count of the copy.
            now: the time.
        """

    def neighbours(self, members: GroupMembers, count: int, now: float) -> list[str]:
        """Return at most `count` members for an announcement of ids."""

    def sent(self, targets: Sequence[str], now: float) -> None:
        """Handle a message that is sent to each of `targets`."""

    def received(self, source: str, now: float) -> None:
        """Handle a message from a member."""


class RandomPush:
    """Sends to a few members, picked afresh for each rumor."""

    __slots__ = ("_count", "_most_hops", "_subset", "_wait_s")

    def __init__(self, subset: int | Callable[[list[str]], int] | None = None, *, wait_s: float = 0.0) -> None:
        """Create a push.

        Args:
            subset: how many members; a number, a function of the list of members, or None for `default_subset`.
            wait_s: how long a rumor may wait, to be sent in a batch.
        """
        self._subset = subset
        self._count = 1
        self._most_hops = 1
        self._wait_s = wait_s

    def adjust(self, members: GroupMembers) -> None:
        """Compute the number of targets for the new members.

        Raises:
            Exception: whatever the `subset` function raises.
        """
        subset = self._subset
        if subset is None:
            subset = default_subset(len(members))
        elif callable(subset):
            subset = int(subset(list(members.names)))
        self._count = clamped(subset, members.others())
        self._most_hops = most_hops(len(members), self._count)

    def begin(self, members: GroupMembers, now: float) -> Step:
        """Take the first step."""
        return self.step(members, None, 0, now)

    def step(self, members: GroupMembers, source: str | None, hops: int, now: float) -> Step:
        """Pick members, unless the rumor has used up its hops."""
        del now
        if hops >= self._most_hops:
            return Step((), hops)
        return Step(members.pick(self._count, without=source or ""), hops + 1, self._wait_s)

    def neighbours(self, members: GroupMembers, count: int, now: float) -> list[str]:
        """Pick members."""
        del now
        return members.pick(count)

    def sent(self, targets: Sequence[str], now: float) -> None:
        """Do nothing."""

    def received(self, source: str, now: float) -> None:
        """Do nothing."""


class Direct(RandomPush):
    """Sends from the origin to all members; nobody forwards."""

    __slots__ = ()

    def adjust(self, members: GroupMembers) -> None:
        """Do nothing: each step reads the members."""

    def step(self, members: GroupMembers, source: str | None, hops: int, now: float) -> Step:
        """Return all other members at the origin, and none elsewhere."""
        del now, hops
        others = members.pick(len(members)) if source is None else ()
        return Step(others, LAST_HOP, self._wait_s)


class Star:
    """Sends up to a hub, which sends down to all others: two hops, and few messages because both batch.

    The hub is the first member, in the order given, unless that is suspected. Then it is the first unsuspected member
    that sent something recently. A node suspects a member that has sent nothing for `failover_s` after a message of
    this node, until its next message. A copy's hop count shows whether it goes up or down, so nodes that disagree about
    the hub do no harm.
    """

    __slots__ = ("_awaited_since", "_down_wait_s", "_failover_s", "_received_at", "_up_wait_s")

    _UP: Final = 1

    def __init__(self, *, up_wait_s: float, down_wait_s: float, failover_s: float) -> None:
        """Create a push.

        Args:
            up_wait_s: how long a rumor may wait for others on its way to the hub.
            down_wait_s: the same on the way down.
            failover_s: the silence after which a hub is replaced; more than the two waits and a round trip.
        """
        self._up_wait_s = up_wait_s
        self._down_wait_s = down_wait_s
        self._failover_s = failover_s
        self._awaited_since: dict[str, float] = {}
        self._received_at: dict[str, float] = {}

    def adjust(self, members: GroupMembers) -> None:
        """Forget former members."""
        known = set(members.names)
        self._awaited_since = {name: at for name, at in self._awaited_since.items() if name in known}
        self._received_at = {name: at for name, at in self._received_at.items() if name in known}

    def hub(self, members: GroupMembers, now: float) -> str:
        """Return the hub from this node's point of view."""
        trusted = [name for name in members.names if name == members.me or not self._is_suspected(name, now)]
        if not trusted or trusted[0] == members.names[0]:
            return trusted[0] if trusted else members.me
        # The first has failed, and others may have failed with it: prefer one that is known to have run since.
        since = now - 4 * self._failover_s
        return next((name for name in trusted if self._received_at.get(name, -math.inf) > since), trusted[0])

    def _is_suspected(self, name: str, now: float) -> bool:
        return now - self._awaited_since.get(name, now) > self._failover_s

    def begin(self, members: GroupMembers, now: float) -> Step:
        """Take the first step."""
        return self.step(members, None, 0, now)

    def step(self, members: GroupMembers, source: str | None, hops: int, now: float) -> Step:
        """Send up at the origin, and down at the hub."""
        if source is None:
            hub = self.hub(members, now)
            if hub != members.me:
                return Step((hub,), self._UP, self._up_wait_s)
            return Step(members.pick(len(members)), LAST_HOP, self._down_wait_s)
        if hops != self._UP:
            return Step((), LAST_HOP)
        down = [name for name in members.names if name not in (members.me, source)]
        return Step(down, LAST_HOP, self._down_wait_s, (source,))

    def neighbours(self, members: GroupMembers, count: int, now: float) -> list[str]:
        """Return the hub and then random members."""
        if count <= 0:
            return []
        hub = self.hub(members, now)
        return [hub, *members.pick(count - 1, without=hub)] if hub != members.me else members.pick(count)

    def sent(self, targets: Sequence[str], now: float) -> None:
        """Expect a message from each of `targets` within `failover_s`."""
        for to in targets:
            self._awaited_since.setdefault(to, now)

    def received(self, source: str, now: float) -> None:
        """Trust `source` again."""
        self._awaited_since.pop(source, None)
        self._received_at[source] = now
