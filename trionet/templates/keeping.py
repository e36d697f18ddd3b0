"""Group-wide services that make a group keep things for members that come later.

Invariant: the group keeps a thing from the moment at which this node has held its entry, whichever members can be
reached then.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import EmptyGroup, MalformedRequest, TrionetError
from trionet.message import LOCAL, Remote
from trionet.replies import Replies

from .base import Template
from .fan_out import collect

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

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

    async def end_kept(self, key: str) -> None:
        """Let the group keep a thing no more, if it does.

        A node that has just joined may not have heard of it yet, and asks.
        """
        kept, gid = self.context.local.kept, self.context.gid
        if kept.may_lack(gid, key):
            others = ((sid, node) for sid, node in self.context.members().items() if node != self.context.own)
            await self._ask(dict(islice(others, _ASKED)), gid, key)
        kept.forget(gid, key)

    async def end(self, key: str) -> Replies[Any]:
        """Remove a thing from every member; if the group keeps it, that ends.

        Raises:
            EmptyGroup: the group has no members, and does not keep the thing.
        """
        members = self.context.members()
        ended = self._end_here(key)
        if ended is not None:
            return await self._end_on(members, ended)
        if not members:
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        replies = await self._call(members, "remove", self.context.gid, key)
        keeping = {sid: node for sid, node in members.items() if isinstance(replies.values.get(sid), bytes)}
        for sid in keeping:  # they know that the group keeps it
            self.context.local.kept.learn(replies.values[sid])
        if keeping and (ended := self._end_here(key)) is not None:
            more = await self._end_on(keeping, ended)
            rest = {sid: value for sid, value in replies.values.items() if sid not in keeping}
            replies = Replies(dict(sorted((rest | more.values).items())), replies.errors | more.errors)
        return replies

    def _end_here(self, key: str) -> tuple[bytes, Any] | None:
        """End a thing that the group keeps, before any member is called: from then on that spreads by itself."""
        local = self.context.local
        with local.groups.absences.group_wide():
            return local.kept.begin_end(self.context.gid, key)

    async def _end_on(self, members: dict[str, NodeAddress], ended: tuple[bytes, Any]) -> Replies[Any]:
        """Let members end a thing, which this node has ended with a reply of its own."""
        entry, reply = ended
        own = self.context.own
        kept = self.context.local.comm.prepare([entry], {}, Remote(service="kept", method="end"))

        async def call(node: NodeAddress) -> Any:
            if node != own:
                return await self.context.local.comm.call(node, kept)
            if isinstance(reply, TrionetError):
                raise reply
            return reply

        return await collect(members, call)

    async def _ask(self, members: dict[str, NodeAddress], gid: str, key: str) -> None:
        replies = await self._call(members, "held", gid, key)
        for entry in replies.values.values():
            if isinstance(entry, bytes):
                self.context.local.kept.learn(entry)

    async def _call(self, members: dict[str, NodeAddress], method: str, *args: Any) -> Replies[Any]:
        comm = self.context.local.comm
        request = comm.prepare(list(args), {}, Remote(service="kept", method=method))
        return await self.call_members(members, request)
