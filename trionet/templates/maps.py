"""Work for a group, item by item: ``group.map(Grep.count, paths)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Never, TypeVar, overload

from trionet.message import Remote, check_kwargs
from trionet.services.typed import check_kind, reference_of, typed_request

from .mapping import MapOptions, open_map

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from trionet.services.comm import Comm
    from trionet.services.orphans import Orphans
    from trionet.transports.base import Request

    from .map_run import MappedGroup
    from .mapping import Results

__all__ = ["GroupMaps"]

Item = TypeVar("Item")
R = TypeVar("R")


class GroupMaps:
    """Maps over a group; the base of `GroupCalls`."""

    @property
    def _mapped(self) -> tuple[MappedGroup, str | None, Orphans]:
        """The group, and the service and the orphans of the options."""
        raise NotImplementedError

    @overload
    def map(
        self,
        method: Remote | Mapping[str, Any],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        kwargs: Mapping[str, Any] | None = None,
        per_member: int = 1,
        retries: int = 3,
        ordered: bool = False,
        idempotent: bool | None = None,
    ) -> AbstractAsyncContextManager[Results[Item, Any]]: ...
    @overload
    def map(
        self,
        method: Callable[Concatenate[Any, Item, ...], AsyncIterator[Any]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        kwargs: Mapping[str, Any] | None = None,
        per_member: int = 1,
        retries: int = 3,
        ordered: bool = False,
        idempotent: bool | None = None,
    ) -> AbstractAsyncContextManager[Never]: ...
    @overload
    def map(
        self,
        method: Callable[Concatenate[Any, Item, ...], Awaitable[R]],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        kwargs: Mapping[str, Any] | None = None,
        per_member: int = 1,
        retries: int = 3,
        ordered: bool = False,
        idempotent: bool | None = None,
    ) -> AbstractAsyncContextManager[Results[Item, R]]: ...
    @overload
    def map(
        self,
        method: Callable[Concatenate[Any, Item, ...], R],
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        kwargs: Mapping[str, Any] | None = None,
        per_member: int = 1,
        retries: int = 3,
        ordered: bool = False,
        idempotent: bool | None = None,
    ) -> AbstractAsyncContextManager[Results[Item, R]]: ...
    def map(
        self,
        method: Any,
        items: Any,
        *,
        kwargs: Mapping[str, Any] | None = None,
        per_member: int = 1,
        retries: int = 3,
        ordered: bool = False,
        idempotent: bool | None = None,
    ) -> Any:
        """Call a method with each item, on whichever member is free; iterate over the results as they come.

        ::

            async with group.map(Grep.count, paths, per_member=2) as results:
                async for done in results:
                    print(done.item, done.result())

        It follows the group: new members get items, and a group without members waits for some. Leaving the block
        cancels all calls. An item of a call that did not run, because its member refused it or could not be reached,
        is sent to another member. An item that may have run is sent again only if the method is idempotent; else it
        comes out with the error. What the iterable raises is raised to the reader, after the results before.

        Args:
            method: a method marked with ``trionet.rpc``, as an attribute of its class; or a `Remote` without a node.
            items: each is the first argument of one call. It is iterated over as members are free, and may be
                infinite; it blocks the node while it blocks. A generator is closed when the block ends.
            kwargs: keyword arguments of each call.
            per_member: how many items are in flight at a member, at most. In flight and not yet read are at most that
                many times the members.
            retries: the further attempts of an item.
            ordered: whether the results come in the order of the items; a slow one holds up the others.
            idempotent: whether an item that may have run may run again; by default, what the mark of the method says,
                and False for a `Remote`.

        Raises:
            MalformedRequest: an argument is wrong.
            GroupNotFound: the group has been deleted; also by the iteration, when that happens later.
        """
        group, service, orphans = self._mapped
        comm, given = group.local.comm, check_kwargs(kwargs)
        convert: Callable[[Any], Any] | None = None
        if isinstance(method, Remote | Mapping):
            prepare = _by_remote(comm, Remote.of(method, with_node=False), given)
        else:
            reference = reference_of(method)
            check_kind(reference, is_stream=False)
            convert = None if reference.method.answer is None else reference.answer
            idempotent = reference.mark.idempotent if idempotent is None else idempotent

            def prepare(item: Any) -> Request:
                return typed_request(comm, reference, (item,), given, service)

        options = MapOptions(per_member, retries, ordered, False if idempotent is None else idempotent, orphans)
        return open_map(group, items, options, prepare, convert)


def _by_remote(comm: Comm, remote: Remote, kwargs: Mapping[str, Any]) -> Callable[[Any], Request]:
    return lambda item: comm.prepare([item], kwargs, remote)
