"""A group of one node: its members, and the settings of its last `put`.

Invariant: a member that is added or removed costs the same in a large group as in a small one; the members are sorted
when they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import SID, NodeAddress

    from .group_rules import Rule

__all__ = ["Changes", "GroupEntry"]


class Changes(NamedTuple):
    """The added and removed members of a group."""

    added: dict[NodeAddress, None]
    removed: dict[NodeAddress, None]


class GroupEntry:
    """One group; each `put` makes a new entry.

    Attributes:
        members: the members by SID, in any order.
        subset: the `subset` as given.
        checked_subset: the `subset` for gossip.
        rule: decides the members; None for a listed group.
    """

    __slots__ = ("_changes", "_is_sorted", "checked_subset", "members", "rule", "subset")

    def __init__(
        self,
        members: dict[SID, NodeAddress],
        subset: int | str | Callable[[list[SID]], int] | None = None,
        checked_subset: int | Callable[[list[SID]], int] | None = None,
        rule: Rule | None = None,
    ) -> None:
        """Begin with `members`, which are sorted."""
        self.members: dict[SID, NodeAddress] = members
        self.subset: int | str | Callable[[list[SID]], int] | None = subset
        self.checked_subset: int | Callable[[list[SID]], int] | None = checked_subset
        self.rule: Rule | None = rule
        self._is_sorted = True
        self._changes: Changes | None = None

    def sorted_members(self) -> dict[SID, NodeAddress]:
        """Return the members in SID order."""
        if not self._is_sorted:
            self.members = dict(sorted(self.members.items()))
            self._is_sorted = True
        return self.members

    def holds(self, node: NodeAddress) -> bool:
        """Return whether `node` is a member."""
        return self.members.get(node.sid) == node

    def insert(self, node: NodeAddress) -> None:
        """Add a member."""
        self.members[node.sid] = node
        self._is_sorted = False
        if self._changes is not None:
            self._changes.removed.pop(node, None)
            self._changes.added[node] = None

    def delete(self, node: NodeAddress) -> None:
        """Remove a member."""
        del self.members[node.sid]
        if self._changes is not None:
            self._changes.added.pop(node, None)
            self._changes.removed[node] = None

    def replace(self, members: dict[SID, NodeAddress]) -> bool:
        """Replace all members by `members`, which are sorted; return whether they differ."""
        if self.members == members:
            return False
        self.members, self._is_sorted, self._changes = members, True, None
        return True

    def pop_changes(self) -> Changes | None:
        """Return the changes since the last time; None if they are unknown."""
        changes, self._changes = self._changes, Changes({}, {})
        return changes
