"""The figures of a group's members; new members, and the end of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.config import NodeConfig
from trionet.errors import TrionetError
from trionet.identity import NodeAddress
from trionet.import_paths import reference_to
from trionet.log_limits import about, limited_log
from trionet.message import LOCAL, Remote
from trionet.nesting import DEEPEST, holding
from trionet.replies import Aggregate, Replies
from trionet.services.base import rpc
from trionet.services.groups import ALL

from .base import GroupContext, Template

if TYPE_CHECKING:
    from trionet.services.group_rules import Rule

__all__ = ["SUMMED", "GroupStatus"]

_log = limited_log(__name__)

SUMMED: Final = frozenset({"counts", "heap_total", "heap_used"})


class GroupStatus(Template):
    """The group-wide service ``status``."""

    def __init__(self, context: GroupContext) -> None:
        super().__init__(context)
        self._introducing = trio.Lock()

    @rpc(read=True)
    async def get(self, key: str) -> Aggregate[Any]:
        """Return one figure of every member.

        Args:
            key: as for the local service.

        Returns:
            ``value``: the sum of the values for ``counts``, ``heap_total``, ``heap_used``, otherwise their list in SID
            order; ``values`` and ``errors``: the maps.
        """
        replies = await self.fan_out([key], Remote(service="status", method="get"))
        answered = list(replies.values.values())
        return Aggregate(
            sum(answered) if isinstance(key, str) and key in SUMMED else answered, replies.values, replies.errors
        )

    @rpc
    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Start a node as this node's child, and add it to the group: on every member, on this node, and on itself.

        Failures at single members are logged.

        Returns:
            The new node's address, once it has booted and is in the groups.

        Raises:
            SpawnError: it did not boot.
        """
        local, gid = self.context.local, self.context.gid
        self.context.members()  # raises before the start if the group has been deleted
        node = await local.status.spawn(config)
        if gid == LOCAL:
            return node
        # One at a time, so that nodes spawned at once get to know each other. Handlers of any depth wait for the lock
        # with their slots held: the holder of the lock must not wait for slots.
        async with self._introducing:
            with holding(DEEPEST):
                await self._add_everywhere(node)
        return node

    async def _add_everywhere(self, node: NodeAddress) -> None:
        """Add a new node to the group on every member, on this node, and on itself."""
        local, gid = self.context.local, self.context.gid
        rule = local.groups.rule(gid)
        if rule is not None:
            await self._introduce_rule(node, rule)
            return
        members = list(self.context.members().values())
        await self._introduce(node, members)
        if members:
            replies = await self.fan_out([gid, node], Remote(service="groups", method="add"))
            for sid, error in replies.errors.items():
                _log.warning(
                    "member %s of %s does not know of %s: %s", sid, gid, node, error, extra=about(sid, gid=gid)
                )
        await local.groups.add(gid, node)

    async def _introduce(self, node: NodeAddress, members: list[NodeAddress]) -> None:
        """Send the group to the new node."""
        comm, gid = self.context.local.comm, self.context.gid
        if gid == ALL:
            await comm.send([ALL, node, *members], Remote(node=node, service="groups", method="add"))
        else:
            put = Remote(node=node, service="groups", method="put")
            await comm.send([gid, [*members, node]], put, kwargs=self._given_subset(node))

    async def _introduce_rule(self, node: NodeAddress, rule: Rule) -> None:
        """Send a group with a rule to the new node; the rule decides on each node whether the new one belongs to it."""
        comm, gid = self.context.local.comm, self.context.gid
        where = reference_to(rule.where) if callable(rule.where) else rule.where
        if where is None:
            text = "the rule of %s has no import path, so that the new node %s does not have the group: put it there"
            _log.warning(text, gid, node, extra=about(node, gid=gid))
            return
        put = Remote(node=node, service="groups", method="put")
        try:
            await comm.send([gid], put, kwargs={"where": where, **self._given_subset(node)})
        except TrionetError as exc:
            _log.warning("the new node %s does not have the group %s: %s", node, gid, exc, extra=about(node, gid=gid))

    def _given_subset(self, node: NodeAddress) -> dict[str, Any]:
        found = self.context.local.groups.subset(self.context.gid)
        subset = reference_to(found) if callable(found) else found
        if callable(found) and subset is None:
            text = "the subset of %s has no import path, so that the new node %s does not have it: put the group there"
            _log.warning(text, self.context.gid, node, extra=about(node, gid=self.context.gid))
        return {} if subset is None else {"subset": subset}

    @rpc
    async def stop(self) -> Replies[Any]:
        """Stop every member, and then this node."""
        members, request = self._prepared([], Remote(service="status", method="stop"))
        own = self.context.own
        others = {sid: node for sid, node in members.items() if node != own}
        replies = await self.call_members(others, request)
        address = await self.context.local.status.stop()
        if own.sid in members:
            replies = Replies({**replies.values, own.sid: address}, replies.errors)
        return replies
