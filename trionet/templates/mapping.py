"""`Group.map`: the driver of `trionet.protocols.mapping` on a group.

Invariant: all its tasks are in the nursery of its block, and inherit the context of the code that opened the block:
calls are in the name of those for whom that code runs, and under its deadline, whatever task causes them.
"""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import AsyncIterable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import trio

from trionet.errors import (
    ConnectionLost,
    DefiniteError,
    GroupNotFound,
    MalformedRequest,
    NodeUnreachable,
    NotFound,
    NotPermitted,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.log_limits import limited_log
from trionet.nurseries import open_background_nursery
from trionet.protocols.mapping import Abandon, Assign, Failure, ItemMap, Rest, Take
from trionet.replies import Done
from trionet.user_code import shown

from .fan_out import check_bool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from trionet.identity import SID, NodeAddress
    from trionet.protocols.mapping import MapEffect
    from trionet.transports.base import Request

    from .base import GroupContext

__all__ = ["Results", "check_items", "new_map", "open_map"]

_log = limited_log(__name__)

Item = TypeVar("Item")
R = TypeVar("R")

_REFUSALS = (NodeUnreachable, NotFound, TemporarilyUnavailable, NotPermitted)
"""The errors of calls that a member refuses whatever the item is, as a rule."""


class Results(trio.abc.ReceiveChannel[Done[Item, R]], Generic[Item, R]):
    """The results of `Group.map`: a receive channel of `Done`, to be used within the block.

    Several tasks may read it; each result goes to one of them.
    """

    def __init__(self, run: _Run) -> None:
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


def check_items(items: object) -> None:
    """Raise `MalformedRequest` unless `items` can be iterated over."""
    if isinstance(items, AsyncIterable | Iterable):
        return
    kinds = {"coroutine": inspect.iscoroutine(items), "function": callable(items)}
    advice = {"coroutine": ": await it first", "function": ": call it first"}
    more = next((advice[kind] for kind, is_kind in kinds.items() if is_kind), "")
    if inspect.iscoroutine(items):
        items.close()
    raise MalformedRequest(f"the items of map are an iterable, or an async one, not {shown(items, 80)}{more}")


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
        run = _Run(context, core, prepare, convert, nursery)
        try:
            with context.watching(run.handle_change):
                nursery.start_soon(run.follow_group)
                nursery.start_soon(run.feed, items)
                nursery.start_soon(run.end_with_node)
                yield Results(run)
        finally:
            run.close()
    run.raise_failure()


class _Run:
    """One mapping on a group.

    Attributes:
        failure: ends the results: of the iterable, or of the group; None without one, or once it was raised.
    """

    def __init__(
        self,
        context: GroupContext,
        core: ItemMap,
        prepare: Callable[[Any], Request],
        convert: Callable[[Any], Any],
        nursery: trio.Nursery,
    ) -> None:
        self.failure: Exception | None = None
        self._context = context
        self._core = core
        self._prepare = prepare
        self._convert = convert
        self._nursery = nursery
        self._inherited = contextvars.copy_context()
        self._members: dict[SID, NodeAddress] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._feeding = trio.CancelScope()
        self._changed = trio.Event()
        self._is_wanted = False
        self._wanted = trio.lowlevel.ParkingLot()
        self._readers = trio.lowlevel.ParkingLot()
        self._is_closed = False

    # ---- the reader

    def pop(self) -> Done[Any, Any]:
        """Return the next result; see `Results.receive_nowait`."""
        if self._is_closed:
            raise trio.ClosedResourceError
        if self._core.readable:
            done, effects = self._core.pop()
            self._perform(effects)
            return done
        if not self._core.is_finished:
            raise trio.WouldBlock
        self.raise_failure()
        raise trio.EndOfChannel

    async def wait(self) -> Done[Any, Any]:
        """Wait for the next result, and return it."""
        while True:
            await self._readers.park()
            try:
                return self.pop()
            except trio.WouldBlock:
                continue

    def raise_failure(self) -> None:
        """Raise the failure, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback has this frame

    def close(self) -> None:
        """Cancel all, and end the results."""
        self._is_closed = True
        self._feeding.cancel()
        for scope in self._scopes.values():
            scope.cancel()
        self._readers.unpark_all()

    # ---- the iterable

    async def feed(self, items: Any) -> None:
        """Pass the items to the core, each when it wants one."""
        try:
            with self._feeding:
                async with _iterating(items) as iterator:
                    while True:
                        while not self._is_wanted:
                            await self._wanted.park()
                        self._is_wanted = False
                        try:
                            item = await anext(iterator)
                        except StopAsyncIteration:
                            break
                        self._perform(self._core.put(item))
        except Exception as exc:  # of the user's iterable, and raised to the reader
            self._fail(exc)
        self._perform(self._core.end())

    def _fail(self, failure: Exception) -> None:
        if self.failure is None and not self._is_closed:
            self.failure = failure

    # ---- the group

    def handle_change(self) -> None:
        """Handle other members of the group, or its deletion; see `follow_group`."""
        self._changed.set()

    async def follow_group(self) -> None:
        """Pass the changes of the group's members to the core."""
        try:
            while True:
                self._changed = trio.Event()
                self._compare(self._context.members())
                await self._changed.wait()
        except GroupNotFound as exc:
            self._stop(exc)

    def _compare(self, present: dict[SID, NodeAddress]) -> None:
        membership = self._context.local.membership
        for sid in [sid for sid in self._members if sid not in present]:
            node = self._members.pop(sid)
            if membership.has_failed(node):
                self._perform(self._core.fail_member(sid, lambda node=node: _lost(node)))  # type: ignore[misc]
            else:
                self._perform(self._core.remove_member(sid))
        for sid, node in present.items():
            if sid not in self._members:
                self._members[sid] = node
                self._perform(self._core.add_member(sid))
        if self._core.is_stranded:
            _log.warning("the items of a map wait: the group %r has no members", self._context.gid)

    async def end_with_node(self) -> None:
        """Wait until this node ends; then the items that wait come out."""
        async with self._context.local.membership.scope(self._context.own):
            await trio.sleep_forever()
        self._stop(TemporarilyUnavailable("this node has stopped, and its map ends"))

    def _stop(self, error: TrionetError) -> None:
        self._fail(error)
        self._feeding.cancel()
        self._perform(self._core.stop(error))

    # ---- the calls

    def _perform(self, effects: list[MapEffect]) -> None:
        if self._is_closed:
            return
        for effect in effects:
            if isinstance(effect, Assign):
                scope = self._scopes[effect.attempt] = trio.CancelScope()
                node = self._members[effect.sid]
                self._inherited.run(self._nursery.start_soon, self._call, effect, node, scope)
            elif isinstance(effect, Take):
                self._is_wanted = True
                self._wanted.unpark()
            elif isinstance(effect, Abandon):
                self._scopes[effect.attempt].cancel()
            else:
                self._inherited.run(self._nursery.start_soon, self._rest, effect)
        if self._core.is_finished:
            self._readers.unpark_all()
        elif self._core.readable:
            self._readers.unpark(count=self._core.readable)

    async def _call(self, assigned: Assign, node: NodeAddress, scope: trio.CancelScope) -> None:
        effects: list[MapEffect] = []
        try:
            with scope:
                effects = await self._outcome(assigned.attempt, assigned.item, node)
        finally:
            del self._scopes[assigned.attempt]
        self._perform(effects)

    async def _outcome(self, attempt: int, item: Any, node: NodeAddress) -> list[MapEffect]:
        """Call the method, and pass the outcome to the core."""
        failure = Failure.FINAL
        try:
            request = self._prepare(item)
            failure = Failure.NOT_RUN
            value = await self._context.local.comm.call(node, request)
            failure = Failure.FAILED
            value = self._convert(value)
        except TrionetError as exc:
            if failure is Failure.NOT_RUN:
                failure = _kind_of(exc)
            return self._core.fail(attempt, failure, exc)
        return self._core.succeed(attempt, value)

    async def _rest(self, effect: Rest) -> None:
        await trio.sleep(effect.pause_s)
        self._perform(self._core.rested(effect.number))


def _kind_of(error: TrionetError) -> Failure:
    """Return the kind of the error of a call that was sent."""
    if isinstance(error, _REFUSALS):
        return Failure.REFUSED
    if isinstance(error, ConnectionLost):
        return Failure.LOST
    return Failure.NOT_RUN if isinstance(error, DefiniteError) else Failure.FAILED


def _lost(node: NodeAddress) -> ConnectionLost:
    return ConnectionLost("the member has failed before it answered", node=node)


@asynccontextmanager
async def _iterating(items: Any) -> AsyncGenerator[AsyncIterator[Any]]:
    """Iterate over an iterable or async iterable; a generator is closed at the end of the block."""
    iterator: AsyncIterator[Any] = aiter(items) if isinstance(items, AsyncIterable) else _one_by_one(items)
    try:
        yield iterator
    finally:
        if inspect.isasyncgen(iterator):
            await iterator.aclose()


async def _one_by_one(items: Iterable[Any]) -> AsyncGenerator[Any]:
    """Yield the items of an iterable; other tasks run before each, because it may block for as long as it likes."""
    iterator = iter(items)
    try:
        while True:
            await trio.lowlevel.checkpoint()
            try:
                item = next(iterator)
            except StopIteration:
                return
            yield item
    finally:
        if inspect.isgenerator(iterator):
            iterator.close()
