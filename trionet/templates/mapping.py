"""`Group.map`: the block of a map, and the channel of its results."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import trio

from trionet.errors import MalformedRequest
from trionet.nurseries import open_background_nursery
from trionet.protocols.mapping import ItemMap
from trionet.replies import Done

from .fan_out import check_bool
from .map_run import MapRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet.transports.base import Request

    from .base import GroupContext

__all__ = ["Results", "new_map", "open_map"]

Item = TypeVar("Item")
R = TypeVar("R")


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


def new_map(*, per_member: object, retries: object, ordered: object, idempotent: object) -> ItemMap:
    """Return the core of a mapping.

    Raises:
        MalformedRequest: an argument is wrong; see `Group.map`.
    """
    if type(per_member) is not int or per_member < 1:
        raise MalformedRequest(f"per_member is a number from 1, of items in flight at a member; not {per_member!r:.80}")
    if type(retries) is not int or retries < 0:
        raise MalformedRequest(f"retries is a number from 0, of further attempts of an item; not {retries!r:.80}")
    check_bool("ordered", ordered)
    check_bool("idempotent", idempotent)
    return ItemMap(per_member=per_member, retries=retries, is_ordered=bool(ordered), is_idempotent=bool(idempotent))


@asynccontextmanager
async def open_map(
    context: GroupContext,
    core: ItemMap,
    items: Any,
    prepare: Callable[[Any], Request],
    convert: Callable[[Any], Any] = lambda value: value,
) -> AsyncGenerator[Results[Any, Any]]:
    """Call a method with each item, on the members of a group by who is free; yield the results.

    Args:
        context: the group.
        core: the new mapping.
        items: a checked iterable, or async iterable.
        prepare: returns the call with an item.
        convert: returns the value for the user of a call's value.
    """
    context.members()
    async with open_background_nursery() as nursery:
        run = MapRun(context, core, prepare, convert, nursery)
        try:
            with context.watching(run.handle_change):
                nursery.start_soon(run.follow_group)
                nursery.start_soon(run.feed, items)
                nursery.start_soon(run.end_with_node)
                yield Results(run)
        finally:
            run.close()
    run.raise_failure()
