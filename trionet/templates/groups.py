"""Changes to the groups of every member."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trionet.errors import CodeRefused, EmptyGroup, MalformedRequest
from trionet.identity import SID, NodeAddress, sid_of
from trionet.import_paths import reference_to
from trionet.message import Remote
from trionet.replies import Replies
from trionet.security.code_stamps import SentCode
from trionet.services.base import rpc
from trionet.services.groups import PUT, check_changeable
from trionet.services.kept_rules import kept_rule, rule_key
from trionet.services.member import Member
from trionet.user_code import shown

from .keeping import KeepingTemplate

__all__ = ["GroupGroups"]


class GroupGroups(KeepingTemplate):
    """The group-wide service ``groups``: each change is made on every member, and on this node."""

    @rpc(read=True)
    async def get(self, gid: str) -> Replies[dict[SID, NodeAddress]]:
        """Return each member's group `gid`."""
        return await self._on_members("get", gid)

    @rpc
    async def put(
        self,
        gid: str,
        nodes: Iterable[Any] | Mapping[Any, Any] | None = None,
        *,
        where: Mapping[str, str] | str | Callable[[Member], Any] | None = None,
        subset: int | str | Callable[[list[SID]], int] | None = None,
    ) -> Replies[dict[SID, NodeAddress]]:
        """Create or replace the group `gid` on every member, and on this node.

        Arguments are those of the local service; the members must be able to import a function as `where`. One as
        `subset` that has no import path goes by value, to members that trust code.

        With `where`, members that come later put the group, too: new ones, restarted ones, and those that can't be
        reached now; until `del_`, or another `put` of the gid.

        Raises:
            MalformedRequest: the gid, an address or the rule is malformed, or the group is ``all`` or ``local``; or a
                group would keep its own rule.
            CodeRefused: `where` is a function without an import path; or `subset` is one, and it can't be sent as code,
                or the group is one by rule.
            ConfigError: `where` is given, and this node belongs to no cluster.
            MessageTooLarge: `where` is given, and the group keeps too much already.
        """
        where = _portable(where)
        if where is not None and nodes is None:
            return await self._put_rule(gid, where, _portable(subset))
        if not self.context.members():  # before this node's own groups are changed
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        groups, sent = self.context.local.groups, self.context.local.code.portable(subset, PUT)
        with groups.absences.group_wide():
            stored = await groups.put(gid, nodes, where=where, subset=subset if isinstance(sent, SentCode) else sent)
        replies = await self._on_members("put", gid, list(stored.values()), subset=sent)
        await self.end_kept(rule_key(gid))
        return replies

    async def _put_rule(self, gid: str, where: Any, subset: Any) -> Replies[dict[SID, NodeAddress]]:
        entry = kept_rule(gid, where, subset)
        if gid == self.context.gid:
            raise MalformedRequest(
                f"the group {gid!r} can't keep its own rule, because none that comes later knows it: put it in the "
                f"group whose members shall have it, as in node.all.groups.put({gid!r}, where=...)"
            )
        is_member = self.context.own in self.context.members().values()
        replies = await self.keep(*entry)
        if not is_member:
            await self.context.local.groups.put(gid, where=where, subset=subset)
        return replies

    @rpc
    async def add(self, gid: str, node: NodeAddress) -> Replies[dict[SID, NodeAddress]]:
        """Add `node` to the group `gid` of every member; return the updated groups."""
        replies = await self._on_members("add", gid, NodeAddress.of(node))
        groups = self.context.local.groups
        with groups.absences.group_wide():
            await groups.add(gid, NodeAddress.of(node))
        return replies

    @rpc
    async def rem(self, gid: str, sid: SID | NodeAddress) -> Replies[dict[SID, NodeAddress]]:
        """Remove a node, by SID or address, from the group `gid` of every member; return the updated groups."""
        sid = sid_of(sid)
        replies = await self._on_members("rem", gid, sid)
        groups = self.context.local.groups
        with groups.absences.group_wide():
            await groups.rem(gid, sid)
        return replies

    @rpc
    async def del_(self, gid: str) -> Replies[dict[SID, NodeAddress]]:
        """Remove the group `gid` of every member; return the removed groups.

        If this group keeps it, it does so no more: members that can't be reached now remove it later.

        Raises:
            MalformedRequest: it is ``all`` or ``local``, or no gid.
            EmptyGroup: this group has no members, and does not keep it.
        """
        check_changeable(gid)
        groups = self.context.local.groups
        is_member = groups.has(self.context.gid, self.context.own)  # then it calls itself, too
        before = None if is_member else groups.find(gid)
        replies = await self.end(rule_key(gid))
        if before is not None and groups.find(gid) is before:  # another call may have put it anew
            with groups.absences.group_wide():
                await groups.del_(gid)
        return replies

    async def _on_members(self, method: str, *args: Any, **kwargs: Any) -> Replies[Any]:
        given = {name: value for name, value in kwargs.items() if value is not None}
        return await self.fan_out(args, Remote(service="groups", method=method), kwargs=given)


def _portable(value: Any) -> Any:
    """Return an argument of `put` with its import path in place of a function.

    Raises:
        CodeRefused: the function has none.
    """
    if not callable(value):
        return value
    reference = reference_to(value)
    if reference is None:
        raise CodeRefused(
            f"{shown(value)} would have to travel as code, and what a group keeps goes by its import path, because "
            f"members need it later: give 'package.module:name'"
        )
    return reference
