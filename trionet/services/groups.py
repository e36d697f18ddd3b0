"""The groups of this node, and their members.

Invariants: ``all`` holds the node itself, every live member of its cluster, and every node that a group names;
``local`` is the node alone; a group is listed, or has a rule, and then holds the present members that match it; a
member of the cluster that fails or leaves is removed from all groups; keys are the SIDs of the addresses, in SID order;
two nodes may hold different sets under one gid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from trionet.codec import register_type
from trionet.errors import GroupNotFound, MalformedRequest, SIDCollision
from trionet.identity import SID, NodeAddress, check_gid, members_by_sid, sid_of
from trionet.message import LOCAL
from trionet.security.code_stamps import SentCode
from trionet.user_code import shown

from .absences import Absences
from .base import rpc
from .group_entry import Changes, GroupEntry
from .group_rules import Rule, checked_rule, description_of
from .member import Member
from .subsets import checked_subset

if TYPE_CHECKING:
    from collections.abc import Generator

    from .code_trust import CodeTrust

__all__ = ["ALL", "PUT", "GroupDescription", "Groups", "GroupsObserver", "check_changeable"]

ALL: Final = "all"
_FIXED = (ALL, LOCAL)
PUT: Final = "groups/put"  # what code is for


class GroupsObserver(Protocol):
    """Handles new, changed and deleted groups."""

    def group_added(self, gid: str) -> None:
        """Handle a new group."""

    def group_changed(self, gid: str) -> None:
        """Handle other members of a group, or another `subset`; called for a new group, too."""

    def group_removed(self, gid: str) -> None:
        """Handle the deletion of a group."""

    def cluster_members(self) -> list[Member]:
        """Return the present members of the cluster, this node included; raise `ConfigError` if there is none."""


class GroupDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a group of one node.

    Attributes:
        gid: its name.
        members: its present members.
        where: its rule: tags, or a function's import path or name; None for a listed group.
        subset: the `subset` of its `put`: a number, or a function's import path or name; None for the default.
    """

    gid: str
    members: dict[SID, NodeAddress]
    where: dict[str, str] | str | None
    subset: int | str | None


register_type(GroupDescription, name="trionet:GroupDescription")


def check_changeable(gid: str) -> None:
    """Raise `MalformedRequest` unless a group of this name can be put and deleted."""
    if check_gid(gid) in _FIXED:
        raise MalformedRequest(f"the group {gid!r} can't be put or deleted")


class Groups:
    """The local service ``groups``.

    Attributes:
        absences: the failed members, with the groups that they were in.
    """

    def __init__(self, own: NodeAddress, observer: GroupsObserver, code: CodeTrust | None = None) -> None:
        """Begin with ``all`` and ``local``, without a notice to the observer; None: it reads no code."""
        self._own = own
        self._code = code
        self._observer = observer
        self._entries = {gid: GroupEntry(members_by_sid([own])) for gid in _FIXED}
        self._ruled: list[str] = []
        self.absences: Absences = Absences(own)
        self._batched: dict[str, None] | None = None

    @property
    def has_rules(self) -> bool:
        """Whether any group has a rule."""
        return bool(self._ruled)

    def members(self, gid: str) -> dict[SID, NodeAddress]:
        """Return a copy of `gid`'s members, in SID order.

        Raises:
            GroupNotFound: there is no such group.
        """
        return dict(self._entry(gid).sorted_members())

    def has(self, gid: str, node: NodeAddress) -> bool:
        """Return whether `node` is a member of `gid`; in constant time."""
        entry = self._entries.get(gid)
        return entry is not None and entry.holds(node)

    def find(self, gid: str) -> GroupEntry | None:
        """Return the entry of the last `put` of `gid`, which identifies it; None without one."""
        return self._entries.get(gid)

    def size(self, gid: str) -> int:
        """Return the number of members of `gid`."""
        return len(self._entry(gid).members)

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
            entry.insert(node)
            self._changed(ALL)
        elif other != node:
            raise SIDCollision(f"{other} and {node} have one SID, {node.sid}: leave one of them out")

    def expel(self, node: NodeAddress, boot_id: int | None = None) -> None:
        """Remove a failed or left node from all groups.

        Args:
            node: which node.
            boot_id: that of a failed member, which may return; None for one that has left.
        """
        listed: list[str] = []
        for gid, entry in list(self._entries.items()):
            if entry.holds(node) and node != self._own:
                entry.delete(node)
                self._changed(gid)
                if gid != ALL and entry.rule is None:
                    listed.append(gid)
        if boot_id is None:
            self.absences.forget(node)
        else:
            self.absences.begin(node, boot_id, listed)

    def restore(self, node: NodeAddress, boot_id: int) -> None:
        """Put a member that has returned into the groups that its failure removed it from; see `absences`."""
        for gid in self.absences.end(node, boot_id):
            entry = self._entries[gid]
            if node.sid not in entry.members:
                entry.insert(node)
                self._changed(gid)

    def judge(self, member: Member) -> None:
        """Add a present member that is new or has changed to the groups whose rules it matches, and to no other."""
        node = member.node
        if self._entries[ALL].members.get(node.sid, node) != node:  # of two with one SID, this one can't be addressed
            return
        for gid in self._ruled:
            entry = self._entries[gid]
            assert entry.rule is not None
            is_match = entry.rule.is_match(gid, member)
            if is_match != entry.holds(node):
                (entry.insert if is_match else entry.delete)(node)
                self._changed(gid)

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
        return self._entry(gid).pop_changes()

    def _changed(self, gid: str) -> None:
        if self._batched is None:
            self._observer.group_changed(gid)
        else:
            self._batched[gid] = None

    def _set_members(self, gid: str, members: dict[SID, NodeAddress]) -> None:
        if self._entries[gid].replace(members):
            self._observer.group_changed(gid)

    def rule(self, gid: str) -> Rule | None:
        """Return the rule of the last `put`; None for a listed group."""
        return self._entry(gid).rule

    def subset(self, gid: str) -> Any:
        """Return the `subset` of the last `put`; None for the default."""
        return self._entry(gid).subset

    def checked_subset(self, gid: str) -> int | Callable[[list[SID]], int] | None:
        """Return the number of members that gossip goes to, or a function for it; None for the default."""
        return self._entry(gid).checked_subset

    def gids(self) -> list[str]:
        """Return the names of all groups, sorted."""
        return sorted(self._entries)

    def _entry(self, gid: str) -> GroupEntry:
        entry = self._entries.get(gid) if isinstance(gid, str) else None
        if entry is None:
            raise GroupNotFound(f"there is no group {gid!r:.130} on this node")
        return entry

    @rpc(read=True)
    async def get(self, gid: str) -> dict[SID, NodeAddress]:
        """Return a copy of the members of `gid`.

        Raises:
            GroupNotFound: there is no such group.
        """
        return self.members(gid)

    @rpc(read=True)
    async def describe(self, gid: str) -> GroupDescription:
        """Return the members of `gid`, its rule and its subset.

        Raises:
            GroupNotFound: there is no such group.
        """
        entry = self._entry(gid)
        where = None if entry.rule is None else entry.rule.description()
        subset = description_of(entry.subset) if callable(entry.subset) else entry.subset
        return GroupDescription(gid=gid, members=self.members(gid), where=where, subset=subset)

    @rpc
    async def put(
        self,
        gid: str,
        nodes: Iterable[Any] | Mapping[Any, Any] | None = None,
        *,
        where: Mapping[str, str] | str | Callable[[Member], Any] | None = None,
        subset: int | str | Callable[[list[SID]], int] | SentCode | None = None,
    ) -> dict[SID, NodeAddress]:
        """Create or replace the group `gid`; its services exist when this returns, and its nodes are in ``all``.

        Args:
            gid: 1 to 128 of letters, digits, ``_``, ``-``, ``.``; not ``all`` or ``local``.
            nodes: addresses, or a mapping to addresses; the keys are computed anew.
            where: instead of `nodes`, a rule: the group is the present members of the cluster, this node included,
                that match it, at any time. Tags that a member has, with these values (``{}`` for every member); a
                function of a `Member`; or its import path. It is asked again when a member changes.
            subset: the number of members that a gossiped message is forwarded to: a number, a function of the list of
                SIDs, or its import path; default: a tree. At most the group's size.

        Returns:
            The stored members.

        Raises:
            MalformedRequest: the gid or an address is malformed, the group is ``all`` or ``local``, or `where` or
                `subset` is none of these, or gives no number; or both or none of `nodes` and `where` are given.
            ConfigError: `where` is given, and this node belongs to no cluster.
            SIDCollision: two different addresses have one SID.
        """
        if self._code is not None:
            subset = self._code.received(subset, PUT)
        return self.store(gid, nodes, where=where, subset=subset)

    def store(self, gid: str, nodes: Any = None, *, where: Any = None, subset: Any = None) -> dict[SID, NodeAddress]:
        """Create or replace the group `gid`; see `put`."""
        check_changeable(gid)
        if (nodes is None) == (where is None):
            raise MalformedRequest("a group has its nodes, put(gid, [...]), or a rule, put(gid, where={...}): give one")
        rule = None if where is None else checked_rule(where)
        members = members_by_sid(nodes or ()) if rule is None else self._matching(gid, rule)
        return self._put(gid, GroupEntry(members, subset, checked_subset(subset, list(members)), rule))

    def _matching(self, gid: str, rule: Rule) -> dict[SID, NodeAddress]:
        known = self._entries[ALL].members
        present = [
            member for member in self._observer.cluster_members() if known.get(member.sid, member.node) == member.node
        ]
        return members_by_sid([member.node for member in present if rule.is_match(gid, member)])

    def _put(self, gid: str, entry: GroupEntry) -> dict[SID, NodeAddress]:
        members = dict(entry.members)
        before = self._entries[gid].members if gid in self._entries else {}
        known = members_by_sid([*self._entries[ALL].members.values(), *members.values()])
        is_new = gid not in self._entries
        self._entries[gid] = entry
        self._note_rules()
        if is_new:
            try:
                self._observer.group_added(gid)
            except BaseException:
                del self._entries[gid]  # a template's constructor raised
                self._note_rules()
                raise
        self.absences.note(gid, before, members if entry.rule is None else None, is_told=entry.rule is None)
        self._observer.group_changed(gid)
        self._set_members(ALL, known)
        return members

    def _note_rules(self) -> None:
        self._ruled = [gid for gid, entry in self._entries.items() if entry.rule is not None]

    @rpc
    async def add(self, gid: str, node: NodeAddress, *more: NodeAddress) -> dict[SID, NodeAddress]:
        """Add nodes to `gid` and to ``all``; return the updated group. A missing group is no error, and is not created.

        Raises:
            MalformedRequest: the group is ``local``, or has a rule, or an address is malformed.
            SIDCollision: another address in the group has the SID of one of them.
        """
        if gid == LOCAL:
            raise MalformedRequest("the group 'local' is the node alone")
        nodes = members_by_sid((node, *more))
        if check_gid(gid) not in self._entries:
            return {}
        self._check_listed(gid)
        known = members_by_sid([*self._entries[ALL].members.values(), *nodes.values()])
        grown = members_by_sid([*self._entries[gid].members.values(), *nodes.values()])
        self.absences.note(gid, self._entries[gid].members, grown, nodes)
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
            MalformedRequest: the gid is malformed, `sid` is neither, or the group has a rule.
        """
        sid = sid_of(sid)
        entry = self._entries.get(check_gid(gid))
        if entry is None:
            return {}
        self._check_listed(gid)
        if gid not in _FIXED or sid != self._own.sid:
            rest = {key: node for key, node in entry.sorted_members().items() if key != sid}
            if gid != ALL:
                self.absences.note(gid, entry.members, rest, [sid])
            self._set_members(gid, rest)
        return dict(entry.sorted_members())

    @rpc
    async def del_(self, gid: str) -> dict[SID, NodeAddress]:
        """Remove the group `gid` and its services; return its last members.

        Raises:
            GroupNotFound: there is no such group.
            MalformedRequest: it is ``all`` or ``local``.
        """
        return self.drop(gid)

    def drop(self, gid: str) -> dict[SID, NodeAddress]:
        """Remove the group `gid`; see `del_`."""
        check_changeable(gid)
        members = self._entry(gid).sorted_members()
        self.absences.note(gid, members, None)
        del self._entries[gid]
        self._note_rules()
        self._observer.group_removed(gid)
        return members

    def _check_listed(self, gid: str) -> None:
        rule = self._entries[gid].rule
        if rule is not None:
            raise MalformedRequest(
                f"the rule {shown(rule.description(), 80)} decides who is in the group {gid!r}: "
                f"change the tags of members, or put the group anew"
            )
