"""Group-wide services that make a group keep things for members that come later.

Invariant: the group keeps a thing from the moment at which this node has held its entry, whichever members can be
reached then.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import MalformedRequest
from trionet.message import LOCAL, Remote

from .base import Template
from .fan_out import collect

if TYPE_CHECKING:
    from trionet.identity import NodeAddress
    from trionet.replies import Replies

__all__ = ["KeepingTemplate"]

_ASKED: Final = 3


class KeepingTemplate(Template):
    """A group-wide service whose changes the group may keep."""

    async def keep(self, key: str, value: bytes) -> Replies[Any]:
        """Let the group keep a thing, and put it on every member; a group without members is no error.

        Raises:
            ConfigError: this node belongs to no cluster.
            GroupNotFound: the group has been deleted.
            MalformedRequest: it is the group ``local``.
            MessageTooLarge: the group keeps too much already.
        """
        members, gid = self.context.members(), self.context.gid
        if gid == LOCAL:
            raise MalformedRequest("the group 'local' is this node alone, and keeps nothing: nobody joins it later")
        return await self._call(members, "keep", self.context.local.kept.put(gid, key, value))

    async def end_kept(self, key: str) -> bool:
        """Let the group keep a thing no more; return whether it did.

        A node that has just joined may not have heard of it yet, and asks.
        """
        kept, gid = self.context.local.kept, self.context.gid
        if kept.may_lack(gid, key):
            others = ((sid, node) for sid, node in self.context.members().items() if node != self.context.own)
            await self._ask(dict(islice(others, _ASKED)), gid, key)
        return kept.end(gid, key)

    async def ends_empty(self, key: str) -> bool:
        """Whether the group has no members, and has kept a thing; then that ends."""
        return not self.context.members() and await self.end_kept(key)

    async def _ask(self, members: dict[str, NodeAddress], gid: str, key: str) -> None:
        replies = await self._call(members, "held", gid, key)
        for entry in replies.values.values():
            if isinstance(entry, bytes):
                self.context.local.kept.learn(entry)

    async def _call(self, members: dict[str, NodeAddress], method: str, *args: Any) -> Replies[Any]:
        comm = self.context.local.comm
        request = comm.prepare(list(args), {}, Remote(service="kept", method=method))
        return await collect(members, lambda node: comm.call(node, request))
