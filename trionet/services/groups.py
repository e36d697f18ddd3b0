"""The groups of this node, and their members.

Invariants: ``all`` holds the node itself, every live member of its cluster, and every node that a group names;
``local`` is the node alone; a member of the cluster that fails or leaves is removed from all groups; keys are the SIDs
of the addresses, in SID order; two nodes may hold different sets under one gid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from trionet.errors import GroupNotFound, MalformedRequest, SIDCollision
from trionet.identity import SID, NodeAddress, check_gid, members_by_sid, sid_of
from trionet.message import LOCAL

from .base import rpc
from .subsets import checked_subset

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["ALL", "Changes", "Groups", "GroupsObserver"]

ALL: Final = "all"
_FIXED = (ALL, LOCAL)


class GroupsObserver(Protocol):
    """Handles new, changed and deleted groups."""

    def group_added(self, gid: str) -> None:
        """Handle a new group."""

    def group_changed(self, gid: str) -> None:
        """Handle other members of a group, or another `subset`; called for a new group, too."""

    def group_removed(self, gid: str) -> None:
        """Handle the deletion of a group."""


class Changes(NamedTuple):
    """The added and removed members of a group."""

    added: dict[NodeAddress, None]
    removed: dict[NodeAddress, None]


class _Entry(msgspec.Struct):
    members: dict[SID, NodeAddress]
    subset: int | str | Callable[[list[SID]], int] | None = None
    checked: int | Callable[[list[SID]], int] | None = None
    is_sorted: bool = True
    changes: Changes | None = None  # since the last `pop_changes`; None for all


def _sorted(entry: _Entry) -> dict[SID, NodeAddress]:
    """Return the members in SID order; they are sorted here, and not at each change."""
    if not entry.is_sorted:
        entry.members = dict(sorted(entry.members.items()))
        entry.is_sorted = True
    return entry.members


class Groups:
    """The local service ``groups``."""

    def __init__(self, own: NodeAddress, observer: GroupsObserver) -> None:
        """Begin with ``all`` and ``local``, without a notice to the observer."""
        self._own = own
        self._observer = observer
        self._entries = {gid: _Entry(members_by_sid([own])) for gid in _FIXED}
        self._batched: dict[str, None] | None = None

    def members(self, gid: str) -> dict[SID, NodeAddress]:
        """Return a copy of `gid`'s members, in SID order.

        Raises:
            GroupNotFound: there is no such group.
        """
        return dict(_sorted(self._entry(gid)))

    def known(self) -> set[NodeAddress]:
        """Return all known nodes, this one included."""
        return set(self._entries[ALL].members.values())

    def admit(self, node: NodeAddress) -> None:
        """Add a new member of the cluster to ``all``, in constant time.

        Raises:
            SIDCollision: another node has the same SID.
        """
        entry = self._entries[ALL]
        other = entry.members.get(node.sid)
        if other is None:
            entry.members[node.sid] = node
            entry.is_sorted = False
            self._changed(ALL, entry, node, is_new=True)
        elif other != node:
            raise SIDCollision(f"{other} and {node} have one SID, {node.sid}: leave one of them out")

    def expel(self, node: NodeAddress) -> None:
        """Remove a failed or left node from all groups."""
        for gid, entry in list(self._entries.items()):
            if entry.members.get(node.sid) == node and node != self._own:
                del entry.members[node.sid]
                self._changed(gid, entry, node, is_new=False)

    @contextmanager
    def batch(self) -> Generator[None]:
        """Notify the observer at the end of the block, once for each group that has changed within it."""
        if self._batched is not None:
            yield
            return
        self._batched = {}
        try:
            yield
        finally:
            gids, self._batched = self._batched, None
            for gid in gids:
                if gid in self._entries:
                    self._observer.group_changed(gid)

    def pop_changes(self, gid: str) -> Changes | None:
        """Return the changes since the last time; None if they are unknown."""
        entry = self._entry(gid)
        changes, entry.changes = entry.changes, Changes({}, {})
        return changes

    def _changed(self, gid: str, entry: _Entry, node: NodeAddress, *, is_new: bool) -> None:
        if entry.changes is not None:
            into, out_of = entry.changes if is_new else reversed(entry.changes)
            out_of.pop(node, None)
            into[node] = None
        if self._batched is None:
            self._observer.group_changed(gid)
        else:
            self._batched[gid] = None

    def _set_members(self, gid: str, members: dict[SID, NodeAddress]) -> None:
        entry = self._entries[gid]
        if entry.members != members:
            entry.members, entry.is_sorted, entry.changes = members, True, None
            self._observer.group_changed(gid)

    def subset(self, gid: str) -> Any:
        """Return the `subset` of the last `put`; None for the default."""
        return self._entry(gid).subset

    def checked_subset(self, gid: str) -> int | Callable[[list[SID]], int] | None:
        """Return the number of members that gossip goes to, or a function for it; None for the default."""
        return self._entry(gid).checked

    def gids(self) -> list[str]:
        """Return the names of all groups, sorted."""
        return sorted(self._entries)

    def _entry(self, gid: str) -> _Entry:
        entry = self._entries.get(gid) if isinstance(gid, str) else None
        if entry is None:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        return entry

    @rpc
    async def get(self, gid: str) -> dict[SID, NodeAddress]:
        """Return a copy of the members of `gid`.

        Raises:
            GroupNotFound: there is no such group.
        """
        return self.members(gid)

    @rpc
    async def put(
        self,
        gid: str,
        nodes: Iterable[Any] | Mapping[Any, Any],
        *,
        subset: int | str | Callable[[list[SID]], int] | None = None,
    ) -> dict[SID, NodeAddress]:
        """Create or replace the group `gid`; its services exist when this returns, and its nodes are in ``all``.

        Args:
            gid: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; not ``all`` or ``local``.
            nodes: addresses, or a mapping to addresses; the keys are computed anew.
            subset: the number of members that a gossiped message is forwarded to: a number, a function of the list of
                SIDs, or its import path; default: logarithmic in the size of the group. At most the group's size.

        Returns:
            The stored members.

        Raises:
            MalformedRequest: the gid or an address is malformed, the group is ``all`` or ``local``, or `subset` is none
                of these, or gives no number.
            SIDCollision: two different addresses have one SID.
        """
        self._check_changeable(gid)
        members = members_by_sid(nodes)
        checked = checked_subset(subset, list(members))
        known = members_by_sid([*self._entries[ALL].members.values(), *members.values()])
        is_new = gid not in self._entries
        self._entries[gid] = _Entry(members, subset, checked)
        if is_new:
            try:
                self._observer.group_added(gid)
            except BaseException:
                del self._entries[gid]  # a template's constructor raised
                raise
        self._observer.group_changed(gid)
        self._set_members(ALL, known)
        return dict(members)

    @rpc
    async def add(self, gid: str, node: NodeAddress, *more: NodeAddress) -> dict[SID, NodeAddress]:
        """Add nodes to `gid` and to ``all``; return the updated group. A missing group is no error, and is not created.

        Raises:
            MalformedRequest: the group is ``local``, or an address is malformed.
            SIDCollision: another address in the group has the SID of one of them.
        """
        if gid == LOCAL:
            raise MalformedRequest("the group 'local' is the node alone")
        nodes = members_by_sid((node, *more))
        if check_gid(gid) not in self._entries:
            return {}
        known = members_by_sid([*self._entries[ALL].members.values(), *nodes.values()])
        grown = members_by_sid([*self._entries[gid].members.values(), *nodes.values()])
        self._set_members(ALL, known)
        self._set_members(gid, grown)
        return dict(grown)

    @rpc
    async def rem(self, gid: str, sid: SID | NodeAddress) -> dict[SID, NodeAddress]:
        """Remove a node from `gid`; return the updated group. A missing group or node is no error.

        This node stays in ``all`` and ``local``.

        Args:
            gid: the group.
            sid: the node's SID, or its address in any form.

        Raises:
            MalformedRequest: the gid is malformed, or `sid` is neither.
        """
        sid = sid_of(sid)
        entry = self._entries.get(check_gid(gid))
        if entry is None:
            return {}
        if gid not in _FIXED or sid != self._own.sid:
            self._set_members(gid, {key: node for key, node in _sorted(entry).items() if key != sid})
        return dict(_sorted(entry))

    @rpc
    async def del_(self, gid: str) -> dict[SID, NodeAddress]:
        """Remove the group `gid` and its services; return its last members.

        Raises:
            GroupNotFound: there is no such group.
            MalformedRequest: it is ``all`` or ``local``.
        """
        self._check_changeable(gid)
        members = _sorted(self._entry(gid))
        del self._entries[gid]
        self._observer.group_removed(gid)
        return members

    def _check_changeable(self, gid: str) -> None:
        if check_gid(gid) in _FIXED:
            raise MalformedRequest(f"the group {gid!r} can't be put or deleted")
