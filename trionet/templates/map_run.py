"""The driver of a map: the tasks that take items, follow the group, and make the calls.

Invariant: all its tasks are in the nursery of its block, and inherit the context of the code that opened the block:
calls are in the name of those for whom that code runs, and under its deadline, whatever task causes them.
"""

from __future__ import annotations

import contextvars
import math
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trionet.errors import (
    ConnectionLost,
    DefiniteError,
    GroupNotFound,
    NodeUnreachable,
    NotFound,
    NotPermitted,
    OrphanedCalls,
    TemporarilyUnavailable,
    TrionetError,
)
from trionet.log_limits import limited_log
from trionet.protocols.mapping import Abandon, Assign, Failure, ItemMap, Rest, Take

from .map_items import MapItems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from trionet.identity import SID, NodeAddress
    from trionet.protocols.mapping import MapEffect
    from trionet.replies import Done
    from trionet.services import LocalServices
    from trionet.services.comm import Comm
    from trionet.services.orphans import Orphans
    from trionet.transports.base import Request

__all__ = ["Calling", "MapRun", "MappedGroup"]

_log = limited_log(__name__)

_REFUSALS = (NodeUnreachable, NotFound, TemporarilyUnavailable, NotPermitted)
"""The errors of calls that a member refuses whatever the item is, as a rule."""


class MappedGroup(Protocol):
    """The group whose members get the items."""

    gid: str
    local: LocalServices

    def members(self) -> dict[SID, NodeAddress]:
        """Return the current members; raise `GroupNotFound` if the group has been deleted."""

    def watching(self, watcher: Callable[[], None], /) -> AbstractContextManager[None]:
        """Call `watcher` within the block whenever the members have changed, or the group is deleted."""


class Calling:
    """How an item becomes a call."""

    def __init__(
        self,
        comm: Comm,
        prepare: Callable[[Any], Request],
        convert: Callable[[Any], Any] | None,
        orphans: Orphans,
    ) -> None:
        """Keep how.

        Args:
            comm: makes the calls.
            prepare: returns the call with an item.
            convert: returns the value for the user of a call's value; None for the value itself.
            orphans: what becomes of cancelled calls that don't confirm their end.
        """
        self._comm = comm
        self._prepare = prepare
        self._convert = convert
        self._orphans: Orphans = orphans

    async def outcome(self, item: Any, node: NodeAddress) -> tuple[Failure | None, Any]:
        """Call the method with an item; return the value, or the error with its kind."""
        failure = Failure.FINAL
        try:
            request = self._prepare(item)
            failure = Failure.NOT_RUN
            if self._orphans == "report":
                value = await self._comm.call(node, request)
            else:
                with self._comm.raising_orphans(self._orphans, request):
                    value = await self._comm.call(node, request)
            failure = Failure.FAILED
            return None, value if self._convert is None else self._convert(value)
        except TrionetError as exc:
            return _kind_of(exc) if failure is Failure.NOT_RUN else failure, exc


class _Caller:
    """A task that makes calls, one after another."""

    __slots__ = ("assigned", "node", "scope", "waiting")

    def __init__(self, assigned: Assign, node: NodeAddress) -> None:
        self.assigned: Assign | None = assigned
        self.node = node
        self.scope = trio.CancelScope()
        self.waiting = trio.lowlevel.ParkingLot()


class MapRun:
    """One mapping on a group.

    Attributes:
        failure: ends the results: of the iterable, or of the group; None without one, or once it was raised.
        orphans: cancelled calls that did not confirm their end, by node; empty if they are only to be reported.
    """

    def __init__(
        self,
        group: MappedGroup,
        core: ItemMap,
        calling: Calling,
        nursery: trio.Nursery,
    ) -> None:
        self.failure: Exception | None = None
        self._group = group
        self._core = core
        self._how = calling
        self.orphans: dict[str, str] = {}
        self._nursery = nursery
        self._inherited = contextvars.copy_context()
        self._members: dict[SID, NodeAddress] = {}
        self._calling: dict[int, _Caller] = {}  # by attempt
        self._idle: list[_Caller] = []
        self._source: MapItems | None = None
        self._feeding = trio.CancelScope()
        self._changed = trio.Event()
        self._is_wanted = False
        self._is_pulling = False
        self._wanted = trio.lowlevel.ParkingLot()
        self._readers = trio.lowlevel.ParkingLot()
        self._is_closed = False

    # ---- the reader

    def pop(self) -> Done[Any, Any]:
        """Return the next result; see `Results.receive_nowait`."""
        if self._is_closed:
            raise trio.ClosedResourceError("the results of a map are read within its block, before it is closed")
        if self._core.readable:
            done, effects = self._core.pop()
            # The reader itself takes the item that it has made room for: that saves a turn of another task.
            self._is_pulling = self._source is not None
            self._perform(effects)
            self._is_pulling = False
            self._pull()
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
        for caller in self._calling.values():
            caller.scope.cancel()
        self._readers.unpark_all()

    # ---- the iterable

    async def feed(self, items: Any) -> None:
        """Pass the items to the core, each when it wants one."""
        try:
            with self._feeding:
                async with MapItems.iterating(items) as source:
                    if source.is_async:
                        await self._feed_async(source)
                    else:
                        await self._feed_sync(source)
        except Exception as exc:  # of the user's iterable, and raised to the reader
            self._fail(exc)
        self._end()

    async def _feed_async(self, source: MapItems) -> None:
        while True:
            while not self._is_wanted:
                await self._wanted.park()
            self._is_wanted = False
            try:
                item = await source.take()
            except StopAsyncIteration:
                return
            self._put(item)

    async def _feed_sync(self, source: MapItems) -> None:
        """Take items, with other tasks in between: each may block for as long as the iterable likes."""
        self._source = source
        while not self._core.has_ended:
            while not self._is_wanted and not self._core.has_ended:
                await self._wanted.park()
            await trio.lowlevel.checkpoint()
            self._pull()

    def _pull(self) -> None:
        """Take an item of a sync iterable, if one is wanted."""
        if not self._is_wanted or self._source is None or self._is_closed or self._core.has_ended:
            return
        self._is_wanted = False
        try:
            item = self._inherited.run(self._source.take_nowait)
        except StopIteration:
            self._end()
        except Exception as exc:  # of the user's iterable, and raised to the reader
            self._fail(exc)
            self._end()
        else:
            self._put(item)

    def _put(self, item: Any) -> None:
        if not self._core.has_ended:  # the group may have been deleted meanwhile
            self._perform(self._core.put(item))

    def _end(self) -> None:
        self._source = None
        self._wanted.unpark()
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
                self._compare(self._group.members())
                await self._changed.wait()
        except GroupNotFound as exc:
            self._stop(exc)

    def _compare(self, present: dict[SID, NodeAddress]) -> None:
        membership = self._group.local.membership
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
            _log.warning("the items of a map wait: the group %r has no members", self._group.gid)

    async def end_with_node(self) -> None:
        """Wait until this node ends; then the items that wait come out."""
        async with self._group.local.membership.scope(self._group.local.comm.own):
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
            kind = type(effect)
            if kind is Assign:
                self._assign(effect)  # type: ignore[arg-type]  # it is one
            elif kind is Take:
                self._is_wanted = True
                if not self._is_pulling:
                    self._wanted.unpark()
            elif isinstance(effect, Abandon):
                self._calling.pop(effect.attempt).scope.cancel()
            elif isinstance(effect, Rest):
                self._start(self._rest, effect)
        if self._readers:
            self._wake_readers()

    def _wake_readers(self) -> None:
        if self._core.is_finished:
            self._readers.unpark_all()
        elif readable := self._core.readable:
            self._readers.unpark(count=readable)

    def _assign(self, assigned: Assign) -> None:
        """Have a task make a call: one that waits, or a new one."""
        node = self._members[assigned.sid]
        if self._idle:
            caller = self._idle.pop()
            caller.assigned, caller.node = assigned, node
            caller.waiting.unpark()
        else:
            caller = _Caller(assigned, node)
            self._start(self._serve, caller)
        self._calling[assigned.attempt] = caller

    def _start(self, function: Callable[[Any], Awaitable[None]], argument: Any) -> None:
        self._inherited.run(lambda: self._nursery.start_soon(function, argument))

    async def _serve(self, caller: _Caller) -> None:
        """Make the calls that are assigned to a task; a call of this node to itself is its last.

        The handler of that one runs in the task, and may change its context.
        """
        own = self._group.local.comm.own
        with caller.scope:
            while (assigned := caller.assigned) is not None:
                failure, outcome = await self._how.outcome(assigned.item, caller.node)
                if isinstance(outcome, OrphanedCalls) and trio.current_effective_deadline() == -math.inf:
                    self.orphans.update(outcome.calls)  # raised in place of `Cancelled`
                    return
                if caller.scope.cancel_called:  # abandoned meanwhile
                    return
                del self._calling[assigned.attempt]
                caller.assigned = None
                if caller.node != own:
                    self._idle.append(caller)
                self._perform(
                    self._core.succeed(assigned.attempt, outcome)
                    if failure is None
                    else self._core.fail(assigned.attempt, failure, outcome)
                )
                del outcome  # a frame with an error in it would make a reference cycle
                if caller.assigned is None and caller.node != own:
                    await caller.waiting.park()

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
