"""`Group.map`: the block of a map, and the channel of its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec
import trio

from trionet.async_blocks import async_block
from trionet.codec import register_type
from trionet.errors import MalformedRequest, OrphanedCalls
from trionet.nurseries import open_background_nursery
from trionet.protocols.mapping import ItemMap
from trionet.replies import Done
from trionet.services.orphans import Orphans

from .fan_out import check_bool
from .map_items import check_items
from .map_run import Calling, MapRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from trionet.transports.base import Request

    from .map_run import MappedGroup

__all__ = ["MapOptions", "Results", "open_map"]

Item = TypeVar("Item")
R = TypeVar("R")

register_type(Done, name="trionet:Done")


class Results(trio.abc.ReceiveChannel[Done[Item, R]], Generic[Item, R]):
    """The results of `Group.map`: a receive channel of `Done`, to be used within the block.

    Several tasks may read it; each result goes to one of them.
    """

    def __init__(self, run: MapRun) -> None:
        self._run = run

    async def receive(self) -> Done[Item, R]:
        """Return the next result; wait until there is one.

        Raises:
            trio.EndOfChannel: all items have come out.
            trio.ClosedResourceError: the block has ended, or the channel is closed.
            GroupNotFound: the group has been deleted; the results of the items that were sent are read.
            TemporarilyUnavailable: this node is stopping.
            Exception: the iterable has raised it; the results of all items before are read.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            done = self.receive_nowait()
        except trio.WouldBlock:
            return cast("Done[Item, R]", await self._run.wait())
        await trio.lowlevel.cancel_shielded_checkpoint()
        return done

    def receive_nowait(self) -> Done[Item, R]:
        """Return the next result.

        Raises:
            trio.WouldBlock: there is none yet.
            Exception: as for `receive`.
        """
        return cast("Done[Item, R]", self._run.pop())

    async def aclose(self) -> None:
        """Cancel all calls, and take no more items; the block's end waits until the calls have ended."""
        self._run.close()
        await trio.lowlevel.checkpoint()


class MapOptions(msgspec.Struct, frozen=True):
    """The options of a map; see `Group.map`."""

    per_member: int = 1
    retries: int = 3
    ordered: bool = False
    idempotent: bool = False
    orphans: Orphans = "report"

    def check(self) -> None:
        """Raise `MalformedRequest` if an option is wrong."""
        number = self.per_member
        if type(number) is not int or number < 1:
            raise MalformedRequest(f"per_member is a number from 1, of items in flight at a member; not {number!r:.80}")
        number = self.retries
        if type(number) is not int or number < 0:
            raise MalformedRequest(f"retries is a number from 0, of further attempts of an item; not {number!r:.80}")
        check_bool("ordered", self.ordered)
        check_bool("idempotent", self.idempotent)

    def core(self) -> ItemMap:
        """Return a new core."""
        return ItemMap(
            per_member=self.per_member,
            retries=self.retries,
            is_ordered=self.ordered,
            is_idempotent=self.idempotent,
        )


def open_map(
    group: MappedGroup,
    items: Any,
    options: MapOptions,
    prepare: Callable[[Any], Request],
    convert: Callable[[Any], Any] | None = None,
) -> AbstractAsyncContextManager[Results[Any, Any]]:
    """Call a method with each item, on the members of a group by who is free; return the block with the results.

    Args:
        group: the group.
        items: an iterable, or async iterable.
        options: how.
        prepare: returns the call with an item.
        convert: returns the value for the user of a call's value; None for the value itself.

    Raises:
        MalformedRequest: an option is wrong, or the items can't be iterated over.
    """
    options.check()
    check_items(items)
    return _opened(group, items, options.core(), Calling(group.local.comm, prepare, convert, options.orphans))


@async_block("async with group.map(...) as results:")
async def _opened(group: MappedGroup, items: Any, core: ItemMap, calling: Calling) -> AsyncGenerator[Results[Any, Any]]:
    group.members()  # raises if there is no group any more
    orphans: dict[str, str] = {}
    try:
        async with open_background_nursery() as nursery:
            run = MapRun(group, core, calling, nursery)
            orphans = run.orphans
            try:
                with group.watching(run.handle_change):
                    nursery.start_soon(run.follow_group)
                    nursery.start_soon(run.feed, items)
                    nursery.start_soon(run.end_with_node)
                    yield Results(run)
            finally:
                run.close()
        run.raise_failure()
    finally:
        if orphans:
            raise OrphanedCalls(f"cancelled calls may still be running on {', '.join(orphans)}", calls=orphans)
