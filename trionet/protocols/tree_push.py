"""Push along a tree: each member gets one copy of a rumor, if none is lost.

A sender divides the other members, in the order of their names and from a random one on, into a few runs of equal
length. It sends a copy to the first member of each run, with the name of the run's last member: that run is the
receiver's *share*. The receiver divides what comes after itself likewise. So the copies carry the tree, and no node
keeps one; each rumor has another tree; and where two nodes know different members, the shares still nest, as they are
ranges of names.

Invariant: a share lies inside the one that it was divided from, without its first member. So a rumor ends, and with
equal views each member is in one share.

A lost copy cuts off a share. Lazy push brings the rumor there, and a copy that was pulled is pushed on at random,
because copies are being lost. So push alone is fast, and push and pull together are as tolerant as random push.

Source: El-Ansary, Alima, Brand and Haridi, "Efficient broadcast in structured P2P networks" (2003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .push import RandomPush, Step, most_hops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .group_members import GroupMembers

__all__ = ["FAN_OUT", "TreePush", "divided", "share_step"]

FAN_OUT: Final = 8
"""How many copies a node sends: with 8, three hops reach 584 members and four reach 4,680, and one dead node in eight
cuts off a share."""


def divided(names: Sequence[str], hops: int) -> Step:
    """Return the step that divides `names` into shares."""
    count = min(FAN_OUT, len(names))
    bounds = [index * len(names) // count for index in range(count + 1)] if count else [0]
    return Step(
        targets=[names[start] for start in bounds[:-1]],
        hops=hops,
        shares=[names[end - 1] for end in bounds[1:]],
    )


def share_step(members: GroupMembers, after: str, last: str, hops: int) -> Step:
    """Return the step that divides the members after `after` up to `last`, for a copy that came with `hops`."""
    if after == last or hops >= most_hops(len(members), 2):
        return Step((), hops)
    return divided([name for name in members.between(after, last) if name != members.me], hops + 1)


class TreePush(RandomPush):
    """Divides the group at the origin; a copy without a share goes on to a few random members."""

    __slots__ = ()

    def begin(self, members: GroupMembers, now: float) -> Step:
        """Divide all other members."""
        del now
        names = members.ordered()
        start = int(members.random.random() * len(names))
        others = [name for name in (*names[start:], *names[:start]) if name != members.me]
        return divided(others, 1)
