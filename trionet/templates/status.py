"""What the members of a group say about themselves; a group's growth and its end."""

from __future__ import annotations

from typing import Any, Final

import trio

from trionet.config import NodeConfig
from trionet.identity import NodeAddress
from trionet.import_paths import reference_to
from trionet.log_limits import about, limited_log
from trionet.message import LOCAL, Remote
from trionet.nesting import DEEPEST, holding
from trionet.replies import Aggregate, Replies
from trionet.services.base import rpc
from trionet.services.groups import ALL

from .base import GroupContext, Template
from .fan_out import collect

__all__ = ["SUMMED", "GroupStatus"]

_log = limited_log(__name__)

SUMMED: Final = frozenset({"counts", "heap_total", "heap_used"})


class GroupStatus(Template):
    """The group-wide service ``status``."""

    def __init__(self, context: GroupContext) -> None:
        super().__init__(context)
        self._introducing = trio.Lock()

    @rpc
    async def get(self, key: str) -> Aggregate[Any]:
        """Return one figure of every member.

        Args:
            key: as for the local service.

        Returns:
            ``value``: for ``counts``, ``heap_total``, ``heap_used`` the sum, otherwise the list in SID order, of those
            that answered; ``values`` and ``errors``: the maps.
        """
        replies = await self.fan_out([key], Remote(service="status", method="get"))
        answered = list(replies.values.values())
        return Aggregate(
            sum(answered) if isinstance(key, str) and key in SUMMED else answered, replies.values, replies.errors
        )

    @rpc
    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Start a node as this node's child, and add it to the group: on every member, on this node, and on itself.

        A member that can't be told is logged; the new node is there all the same.

        Returns:
            The new node's address, once it has booted and the members know it.

        Raises:
            SpawnError: it did not boot.
        """
        local, gid = self.context.local, self.context.gid
        self.context.members()  # before anything is started: is the group still there?
        node = await local.status.spawn(config)
        if gid == LOCAL:
            return node
        # One after the other, so that nodes spawned at once hear of each other. Handlers at any depth wait for the lock
        # while they hold their slots: who has it must not wait for those.
        async with self._introducing:
            with holding(DEEPEST):
                await self._tell(node)
        return node

    async def _tell(self, node: NodeAddress) -> None:
        """Add a new node to the group: on every member, on this node, and on itself."""
        local, gid = self.context.local, self.context.gid
        members = list(self.context.members().values())
        await self._introduce(node, members)
        if members:
            told = await self.fan_out([gid, node], Remote(service="groups", method="add"))
            for sid, error in told.errors.items():
                _log.warning("member %s of %s could not be told of %s: %s", sid, gid, node, error, extra=about(sid))
        await local.groups.add(gid, node)

    async def _introduce(self, node: NodeAddress, members: list[NodeAddress]) -> None:
        """Tell the new node of its group."""
        comm, gid = self.context.local.comm, self.context.gid
        if gid == ALL:
            await comm.send([ALL, node, *members], Remote(node=node, service="groups", method="add"))
        else:
            subset = self.context.local.groups.subset(gid)
            subset = reference_to(subset) if callable(subset) else subset
            given = {} if subset is None else {"subset": subset}
            put = Remote(service="groups", method="put")
            await comm.call(node, comm.prepare([gid, [*members, node]], given, put))

    @rpc
    async def stop(self) -> Replies[Any]:
        """Stop every member, and then this node."""
        members, request = self._prepared([], Remote(service="status", method="stop"))
        own, comm = self.context.own, self.context.local.comm
        others = {sid: node for sid, node in members.items() if node != own}
        replies = await collect(others, lambda node: comm.call(node, request))
        address = await self.context.local.status.stop()
        if own.sid in members:
            replies = Replies({**replies.values, own.sid: address}, replies.errors)
        return replies
