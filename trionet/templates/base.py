"""Group-wide services: the context of a group, and the fan-out to its members."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trionet.async_blocks import async_block
from trionet.errors import EmptyGroup, GroupNotFound
from trionet.message import Remote, check_args, check_kwargs

from .calls import GroupCalls
from .fan_out import ALL_MEMBERS, Wait, call_all, check_bool, count_to_wait_for, stream_all
from .tree_calls import call_tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    import trio

    from trionet.identity import SID, NodeAddress
    from trionet.replies import Replies
    from trionet.services import LocalServices
    from trionet.services.orphans import Orphans
    from trionet.transports.base import Request

__all__ = ["GroupContext", "Template"]


class GroupContext(GroupCalls):
    """The group of a template's instance; `call` and `stream` are those of `Group`.

    Attributes:
        gid: the group's name.
        local: the services of its node.
    """

    def __init__(self, gid: str, local: LocalServices) -> None:
        self.gid: str = gid
        self.local: LocalServices = local
        self._deleted = False
        self._watchers: dict[Callable[[], None], None] = {}

    @property
    def _called(self) -> GroupContext:
        return self

    @property
    def own(self) -> NodeAddress:
        """The address of its node, which need not be a member."""
        return self.local.comm.own

    def members(self) -> dict[SID, NodeAddress]:
        """Return the current members, in SID order.

        Raises:
            GroupNotFound: the group has been deleted.
        """
        if self._deleted:
            raise GroupNotFound(f"the group {self.gid!r} has been deleted on this node")
        return self.local.groups.members(self.gid)

    @contextmanager
    def watching(self, watcher: Callable[[], None], /) -> Generator[None]:
        """Call `watcher` within the block, at once, whenever the members have changed, or the group is deleted."""
        self._watchers[watcher] = None
        try:
            yield
        finally:
            del self._watchers[watcher]

    def handle_change(self) -> None:
        """Tell those who watch that the members have changed."""
        for watcher in list(self._watchers):
            watcher()

    def end(self) -> None:
        """Mark the group as deleted, for kept handles."""
        self._deleted = True
        self.handle_change()


class Template:
    """The base of group-wide services: a subclass has one instance for each group on each node.

    Other nodes can call its methods marked with ``trionet.rpc``, under the group's name.

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
        tree: bool = False,
    ) -> Replies[Any]:
        """Call `remote` on every member at once, and collect the results.

        Args:
            args: the positional arguments.
            remote: the method to call; without a node.
            kwargs: the keyword arguments.
            wait: ``"all"``; ``"first"``; or a number of values (a quorum). Then the other calls are cancelled, and
                their nodes are in neither map.
            partial: at the caller's deadline, return the results so far, with `CallTimeout` as the error of the other
                members.
            orphans: ``"report"`` cancelled calls whose handlers did not confirm their end in time, by an event and the
                log; or ``"raise"`` `OrphanedCalls`, too.
            tree: whether members relay the call to others; see `GroupCalls.options`.

        Raises:
            EmptyGroup: the group has no members.
            GroupNotFound: it has been deleted.
            MalformedRequest: the arguments are no list, or the remote has a node, or no service or method.
            EncodeError: an argument can't travel.
        """
        comm = self.context.local.comm
        members, request = self._prepared(args, remote, kwargs)
        enough = count_to_wait_for(wait, len(members))
        check_bool("partial", partial)
        check_bool("tree", tree)
        call = call_tree if tree else call_all
        with comm.raising_orphans(orphans, request):
            return await call(comm, self.context.gid, members, request, enough=enough, partial=partial)

    async def call_members(
        self,
        members: Mapping[SID, NodeAddress],
        request: Request,
        *,
        enough: int | None = None,
        partial: bool = False,
    ) -> Replies[Any]:
        """Send a prepared call to some members at once; see `call_all`."""
        context = self.context
        return await call_all(context.local.comm, context.gid, members, request, enough=enough, partial=partial)

    @async_block("async with group.comm.stream(...) as answers:")
    async def open_stream(
        self,
        args: list[Any] | tuple[Any, ...],
        remote: Remote,
        *,
        kwargs: Mapping[str, Any] | None = None,
        items: bool = False,
        orphans: Orphans = "report",
    ) -> AsyncGenerator[trio.MemoryReceiveChannel[tuple[SID, Any]]]:
        """Call `remote` on every member at once; iterate over the results as they arrive.

        Yields an async iterable of ``(sid, value or TrionetError)``. Leaving the block cancels the running calls.
        Raises the errors of `fan_out`.

        Args:
            args: the positional arguments.
            remote: the method to call; without a node.
            kwargs: the keyword arguments.
            items: whether the method is an async generator; then each item arrives as ``(sid, item)``.
            orphans: as for `fan_out`; raised when the block ends.
        """
        comm = self.context.local.comm
        members, request = self._prepared(args, remote, kwargs)
        check_bool("items", items)
        with comm.raising_orphans(orphans, request):
            async with stream_all(comm, self.context.gid, members, request, items=items) as received:
                yield received

    def _prepared(
        self, args: object, remote: Any, kwargs: Mapping[str, Any] | None = None
    ) -> tuple[dict[SID, NodeAddress], Request]:
        remote = Remote.of(remote, with_node=False)
        members = self.context.members()
        if not members:
            raise EmptyGroup(f"the group {self.context.gid!r} has no members")
        request = self.context.local.comm.prepare(check_args(args), check_kwargs(kwargs), remote)
        return members, request
