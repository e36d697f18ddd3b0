"""Changes to the groups of every member."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trionet.errors import CodeRefused, EmptyGroup, GroupNotFound
from trionet.identity import SID, NodeAddress, sid_of
from trionet.import_paths import reference_to
from trionet.message import Remote
from trionet.replies import Replies
from trionet.services.base import rpc

from .base import Template

__all__ = ["GroupGroups"]


class GroupGroups(Template):
    """The group-wide service ``groups``: each change is made on every member, and on this node."""

    @rpc
    async def get(self, gid: str) -> Replies[dict[SID, NodeAddress]]:
        """Return each member's group `gid`."""
        return await self._on_members("get", gid)

    @rpc
    async def put(
        self,
        gid: str,
        nodes: Iterable[Any] | Mapping[Any, Any],
        *,
        subset: int | str | Callable[[list[SID]], int] | None = None,
    ) -> Replies[dict[SID, NodeAddress]]:
        """Create or replace the group `gid` on every member, and on this node.

        Arguments are those of the local service; the members must be able to import a function as `subset`.

        Raises:
            MalformedRequest: the gid or an address is malformed, or the group is ``all`` or ``local``.
            CodeRefused: `subset` is a function without an import path.
        """
        if callable(subset):
            reference = reference_to(subset)
            if reference is None:
                raise CodeRefused(
                    f"{subset!r} would have to travel as code: give its import path, 'package.module:name'"
                )
            subset = reference
        if not self.context.members():  # before this node's own groups are changed
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        groups = self.context.local.groups
        with groups.absences.group_wide():
            stored = await groups.put(gid, nodes, subset=subset)
        return await self._on_members("put", gid, list(stored.values()), subset=subset)

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
        """Remove the group `gid` of every member; return the removed groups."""
        replies = await self._on_members("del", gid)
        groups = self.context.local.groups
        # GroupNotFound: removed already, because this node is a member, or never there.
        with contextlib.suppress(GroupNotFound), groups.absences.group_wide():
            await groups.del_(gid)
        return replies

    async def _on_members(self, method: str, *args: Any, **kwargs: Any) -> Replies[Any]:
        given = {name: value for name, value in kwargs.items() if value is not None}
        return await self.fan_out(args, Remote(service="groups", method=method), kwargs=given)
