"""Calls to every member of a group, by method: ``group.call(Counter.add, amount=5)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, Protocol, TypeVar, overload

import msgspec
import trio

from trionet.async_blocks import async_block
from trionet.errors import EmptyGroup, MalformedRequest, TrionetError
from trionet.identity import check_name
from trionet.services.orphans import Orphans, check_orphans
from trionet.services.typed import check_kind, reference_of, typed_request

from .fan_out import ALL_MEMBERS, Wait, call_all, check_bool, count_to_wait_for, stream_all
from .map_run import MappedGroup
from .maps import GroupMaps
from .tree_calls import call_tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from trionet.identity import SID, NodeAddress
    from trionet.replies import Replies
    from trionet.services.references import Reference
    from trionet.transports.base import Request

__all__ = ["CalledGroup", "GroupCalls", "GroupItems"]

P = ParamSpec("P")
R = TypeVar("R")


class CalledGroup(MappedGroup, Protocol):
    """The group whose members are called."""


class _Options(msgspec.Struct, frozen=True):
    """The options of a group's calls; see `GroupCalls.options`."""

    wait: Wait = ALL_MEMBERS
    partial: bool = False
    orphans: Orphans = "report"
    service: str | None = None
    tree: bool = False


class GroupCalls(GroupMaps):
    """Calls to every member of a group, typed by the method; the base of `Group`, and the result of its `options`."""

    _options: _Options = _Options()

    @property
    def _called(self) -> CalledGroup:
        """The group."""
        raise NotImplementedError

    @property
    def _mapped(self) -> tuple[MappedGroup, str | None, Orphans]:
        if self._options.tree:
            raise MalformedRequest(
                "map calls one member for each item: leave out options(tree=True), which is for call"
            )
        return self._called, self._options.service, self._options.orphans

    @overload
    async def call(
        self, method: Callable[Concatenate[Any, P], AsyncIterator[Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Never: ...
    @overload
    async def call(
        self, method: Callable[Concatenate[Any, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Replies[R]: ...
    @overload
    async def call(
        self, method: Callable[Concatenate[Any, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Replies[R]: ...
    async def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a method on every member at once; return the node-to-value and node-to-error maps.

        ::

            replies = await group.call(Counter.add, amount=5)

        The service has the name of the class, or that of `options`. Answers are converted to the annotated return type.

        Args:
            method: a method marked with ``trionet.rpc``, as an attribute of its class.
            *args: its positional arguments.
            **kwargs: those by name.

        Raises:
            EmptyGroup: the group has no members.
            GroupNotFound: it has been deleted.
            MalformedRequest: it is no such method, or a stream; or the arguments don't fit. Nothing was sent.
            EncodeError: an argument can't travel; nothing was sent.
        """
        options = self._options
        members, request, reference = self._prepared(method, args, kwargs, is_stream=False)
        enough = count_to_wait_for(options.wait, len(members))
        convert = None if reference.method.answer is None else reference.answer
        comm = self._called.local.comm
        with comm.raising_orphans(options.orphans, request):
            return await (call_tree if options.tree else call_all)(
                comm,
                self._called.gid,
                members,
                request,
                enough=enough,
                partial=options.partial,
                convert=convert,
            )

    def stream(
        self, method: Callable[Concatenate[Any, P], AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractAsyncContextManager[GroupItems[R]]:
        """Run a method that is an async generator on every member; iterate over the items as they arrive.

        ::

            async with group.stream(Counter.watch) as items:
                async for sid, total in items:
                    ...
            items.errors

        Leaving the block ends the generators. `GroupItems.errors` has the members that failed. Arguments and errors are
        those of `call`; of its options, ``wait`` and ``partial`` are for calls alone.
        """
        return self._stream(method, args, kwargs)

    @async_block("async with group.stream(...) as items:")
    async def _stream(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[GroupItems[Any]]:
        if self._options.tree:
            raise MalformedRequest(
                "a stream comes from each member itself: leave out options(tree=True), which is for call"
            )
        members, request, reference = self._prepared(method, args, kwargs, is_stream=True)
        convert = None if reference.method.answer is None else reference.answer
        comm = self._called.local.comm
        with comm.raising_orphans(self._options.orphans, request):
            async with stream_all(comm, self._called.gid, members, request, items=True, convert=convert) as received:
                yield GroupItems(received)

    def _prepared(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, is_stream: bool
    ) -> tuple[dict[SID, NodeAddress], Request, Reference]:
        reference, group = reference_of(method), self._called
        check_kind(reference, is_stream=is_stream)
        members = group.members()
        if not members:
            raise EmptyGroup(f"the group {group.gid!r} has no members")
        request = typed_request(group.local.comm, reference, args, kwargs, self._options.service)
        return members, request, reference

    def options(
        self,
        *,
        wait: Wait | None = None,
        partial: bool | None = None,
        orphans: Orphans | None = None,
        service: str | None = None,
        tree: bool | None = None,
    ) -> GroupCalls:
        """Return the same calls with other options; those left out stay.

        Args:
            wait: ``"all"``; ``"first"``; or a number of values (a quorum). Then the other calls are cancelled, and
                their nodes are in neither map.
            partial: at the caller's deadline, return the results so far, with `CallTimeout` as the error of the other
                members.
            orphans: ``"report"`` or ``"raise"``, as for ``comm.send``.
            service: the name of the service, in place of that of the method's class.
            tree: whether some members relay the call to the others, so that the caller has fewer links and messages.
                It is for hundreds of members, and for calls alone. By default the caller calls each member itself.

        Raises:
            MalformedRequest: one is malformed.
        """
        old = self._options
        if tree is not None:
            check_bool("tree", tree)
        if partial is not None:
            check_bool("partial", partial)
        options = _Options(
            old.wait if wait is None else wait,
            old.partial if partial is None else partial,
            old.orphans if orphans is None else check_orphans(orphans),
            old.service if service is None else check_name(service, "service name"),
            old.tree if tree is None else tree,
        )
        return _Calls(self._called, options)


class _Calls(GroupCalls):
    """The result of `GroupCalls.options`."""

    def __init__(self, group: CalledGroup, options: _Options) -> None:
        self._group, self._options = group, options

    @property
    def _called(self) -> CalledGroup:
        return self._group


class GroupItems(trio.abc.ReceiveChannel[tuple[str, R]], Generic[R]):
    """The items of a group's members, ``(sid, item)``, as they arrive.

    Attributes:
        errors: the error of each member whose stream has failed so far; its items end there.
    """

    def __init__(self, received: trio.MemoryReceiveChannel[tuple[SID, Any]]) -> None:
        self._received = received
        self.errors: dict[SID, TrionetError] = {}

    async def receive(self) -> tuple[SID, R]:
        """Return the next item.

        Raises:
            trio.EndOfChannel: the streams of all members have ended.
        """
        while True:
            sid, item = await self._received.receive()
            if not isinstance(item, TrionetError):
                return sid, item
            self.errors[sid] = item

    async def aclose(self) -> None:
        """Receive no more; the streams end with the block."""
        await self._received.aclose()

    def raise_errors(self) -> None:
        """Raise an ``ExceptionGroup`` with one leaf for each failed member, if there are any."""
        if self.errors:
            raise ExceptionGroup(f"the streams of {len(self.errors)} nodes failed", list(self.errors.values()))
