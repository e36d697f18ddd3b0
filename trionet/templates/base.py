"""What makes a group-wide service: the context of its group, and the fan-out to its members."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import trio

from trionet.errors import EmptyGroup, GroupNotFound, TrionetError
from trionet.message import Remote, check_args, check_kwargs
from trionet.nesting import holding
from trionet.nurseries import open_background_nursery

from .fan_out import ALL_MEMBERS, Wait, check_bool, collect, count_to_wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from trionet.identity import SID, NodeAddress
    from trionet.replies import Replies
    from trionet.services import LocalServices
    from trionet.services.comm import Orphans
    from trionet.transports.base import Request

__all__ = ["GroupContext", "Template"]


class GroupContext:
    """What a template's instance knows of its group.

    Attributes:
        gid: the group's name.
        local: the services of the node it lives on.
    """

    def __init__(self, gid: str, local: LocalServices) -> None:
        self.gid = gid
        self.local = local
        self._deleted = False

    @property
    def own(self) -> NodeAddress:
        """The address of the node it lives on, which need not be a member."""
        return self.local.comm.own

    def members(self) -> dict[SID, NodeAddress]:
        """Return the members at this moment, in SID order.

        Raises:
            GroupNotFound: the group has been deleted.
        """
        if self._deleted:
            raise GroupNotFound(f"the group {self.gid!r} has been deleted on this node")
        return self.local.groups.members(self.gid)

    def end(self) -> None:
        """Mark the group as deleted: handles that were kept say so from now on."""
        self._deleted = True


class Template:
    """The base of group-wide services: a subclass is instantiated once for each group on each node.

    Its methods marked with ``trionet.rpc`` can be called by other nodes, under the group's name.

    Attributes:
        context: its group.
    """

    def __init__(self, context: GroupContext) -> None:
        self.context = context

    async def fan_out(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        wait: Wait = ALL_MEMBERS,
        partial: bool = False,
        orphans: Orphans = "report",
    ) -> Replies[Any]:
        """Call `remote` on every member at once, and collect what they answer.

        Args:
            args: the positional arguments.
            remote: what to call; it names no node.
            kwargs: the keyword arguments.
            wait: ``"all"``; ``"first"``; or a number of values (a quorum). The calls that are still running when
                there are as many are cancelled, and their nodes are in neither map.
            partial: when the caller's deadline strikes, return what has arrived, with `CallTimeout` in the errors for
                the members that had not answered.
            orphans: what to do about calls that were cancelled and not confirmed in time to have finished: ``"report"``
                (an event, and the log), or ``"raise"`` `OrphanedCalls` as well.

        Raises:
            EmptyGroup: the group has no members.
            GroupNotFound: it has been deleted.
            MalformedRequest: the arguments are no list, or the remote names a node, or no service or method.
            EncodeError: an argument can't travel.
        """
        comm = self.context.local.comm
        members, request = self._prepared(args, remote, kwargs)
        enough = count_to_wait_for(wait, len(members))
        check_bool("partial", partial)
        with comm.raising_orphans(orphans, request):
            return await collect(members, lambda node: comm.call(node, request), enough=enough, partial=partial)

    @asynccontextmanager
    async def open_stream(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        items: bool = False,
        orphans: Orphans = "report",
    ) -> AsyncGenerator[trio.MemoryReceiveChannel[tuple[SID, Any]]]:
        """Call `remote` on every member at once; iterate over the answers as they come.

        Gives an async iterable of ``(sid, value or TrionetError)``. Leaving the block cancels what is still running.
        Raises what `fan_out` does.

        Args:
            args: the positional arguments.
            remote: what to call; it names no node.
            kwargs: the keyword arguments.
            items: whether the method is an async generator; then each of its items comes as ``(sid, item)``.
            orphans: as for `fan_out`; raised when the block ends.
        """
        comm = self.context.local.comm
        send, receive = trio.open_memory_channel[tuple["SID", Any]](0)

        async def ask_one(sid: SID, node: NodeAddress, channel: trio.MemorySendChannel[tuple[SID, Any]]) -> None:
            with channel:
                try:
                    if items:
                        async with comm.open_items(node, request) as stream:
                            async for item in stream:
                                await channel.send((sid, item))
                    else:
                        await channel.send((sid, await comm.call(node, request)))
                except TrionetError as exc:
                    await channel.send((sid, exc))

        members, request = self._prepared(args, remote, kwargs)
        check_bool("items", items)
        with comm.raising_orphans(orphans, request):
            async with open_background_nursery() as nursery:
                with send:
                    for sid, node in members.items():
                        nursery.start_soon(ask_one, sid, node, send.clone())
                # What the block does while the streams are open, they may wait for.
                with holding(request.depth) if items else nullcontext():
                    yield receive

    def _prepared(
        self, args: object, remote: Any, kwargs: Mapping[str, Any] | None = None
    ) -> tuple[dict[SID, NodeAddress], Request]:
        remote = Remote.of(remote)
        remote.check(with_node=False)
        members = self.context.members()
        if not members:
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        request = self.context.local.comm.prepare(check_args(args), check_kwargs(kwargs), remote)
        return members, request
