"""The members of one gossip group at one node: lookup, change and random choice.

Invariant: each name is there once. A change costs time in proportion to the names that change, not to the group, except
that eight bytes for each member may move in memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from operator import lt
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

__all__ = ["GroupMembers", "OrderedNames"]


class OrderedNames(tuple[str, ...]):
    """Names in order, each once, which the views of many nodes in one process can share."""

    __slots__ = ()

    def __new__(cls, names: Iterable[str]) -> Self:
        """Sort the names."""
        return super().__new__(cls, sorted(set(names)))


class GroupMembers:
    """The names of a group's members.

    Attributes:
        me: this node's name.
        names: all members; sorted from the first change on.
        random: this node's random numbers.
        is_member: whether this node is a member.
    """

    __slots__ = ("_is_sorted", "_known", "is_member", "me", "names", "random")

    def __init__(self, me: str, names: Sequence[str], random: Random, *, is_member: bool | None = None) -> None:
        """Share `names`, which must not change; `is_member` saves the search for `me` if the caller knows.

        Names that aren't `OrderedNames` are compared, and if necessary copied, for the first change or share.
        """
        self.me: str = me
        self.names: Sequence[str] = names
        self.random: Random = random
        self.is_member: bool = me in names if is_member is None else is_member
        self._is_sorted = isinstance(names, OrderedNames)
        self._known: set[str] | None = None  # built on first use: unlike the names, it can't be shared

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        known = self._known
        return name in (self._indexed() if known is None else known)

    def others(self) -> int:
        """Return the number of members without this node."""
        return len(self.names) - self.is_member

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add and remove members; unknown names in `removed` and known ones in `added` are ignored."""
        names = self.ordered()
        if not isinstance(names, list):
            names = self.names = list(names)
        known = self._indexed() if self._known is None else self._known
        for name in removed:
            if name in known:
                known.remove(name)
                del names[bisect_left(names, name)]
        for name in added:
            if name not in known:
                known.add(name)
                names.insert(bisect_left(names, name), name)
        self.is_member = self.me in known

    def _indexed(self) -> set[str]:
        self._known = set(self.names)
        return self._known

    def ordered(self) -> Sequence[str]:
        """Return all members, sorted; sorting them once, unless they come sorted."""
        if not self._is_sorted:
            if not all(lt(*pair) for pair in pairwise(self.names)):
                self.names = sorted(self.names)
            self._is_sorted = True
        return self.names

    def between(self, after: str, last: str) -> Sequence[str]:
        """Return the members after the name `after` up to `last`, in order; round, if `last` isn't greater."""
        names = self.ordered()
        start, end = bisect_right(names, after), bisect_right(names, last)
        return names[start:end] if after < last else [*names[start:], *names[:end]]

    def pick(self, count: int, *, without: str = "") -> list[str]:
        """Return up to `count` different members at random, without this node and `without`.

        If `without` is the only other member, it is returned.
        """
        if count <= 0:
            return []
        names, me, random = self.names, self.me, self.random.random
        size = len(names)
        if 2 * count + 2 >= size:
            found = [name for name in names if name not in (me, without)]
            self.random.shuffle(found)
            return found[:count] or [name for name in names if name == without != me]
        found = []
        while len(found) < count:
            name = names[int(random() * size)]
            if name != me and name != without and name not in found:  # noqa: PLR1714 - the fastest way, and it is hot
                found.append(name)
        return found
