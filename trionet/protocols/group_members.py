"""The members of one gossip group at one node: lookup, change and random choice.

Invariant: each name is there once. A change costs time in proportion to the names that change, not to the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

__all__ = ["GroupMembers"]


class GroupMembers:
    """The names of a group's members.

    Attributes:
        me: this node's name.
        names: all members; a change may reorder them.
        random: this node's random numbers.
        is_member: whether this node is a member.
    """

    __slots__ = ("_positions", "is_member", "me", "names", "random")

    def __init__(self, me: str, names: Sequence[str], random: Random, *, is_member: bool | None = None) -> None:
        """Share `names`, which must not change; `is_member` saves the search for `me` if the caller knows."""
        self.me: str = me
        self.names: Sequence[str] = names
        self.random: Random = random
        self.is_member: bool = me in names if is_member is None else is_member
        self._positions: dict[str, int] | None = None  # built on first use: unlike the names, it can't be shared

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        positions = self._positions
        return name in (self._indexed() if positions is None else positions)

    def others(self) -> int:
        """Return the number of members without this node."""
        return len(self.names) - self.is_member

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Add and remove members; unknown names in `removed` and known ones in `added` are ignored."""
        names = self.names if isinstance(self.names, list) else list(self.names)
        self.names = names
        positions = self._indexed() if self._positions is None else self._positions
        for name in removed:
            position = positions.pop(name, None)
            if position is not None:
                last = names.pop()
                if last != name:
                    names[position] = last
                    positions[last] = position
        for name in added:
            if name not in positions:
                positions[name] = len(names)
                names.append(name)
        self.is_member = self.me in positions

    def _indexed(self) -> dict[str, int]:
        self._positions = {name: position for position, name in enumerate(self.names)}
        return self._positions

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
