"""The events of a node, and their subscriptions."""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from .errors import MalformedRequest
from .identity import SID, NodeAddress
from .log_limits import limited_log
from .under_trio import check_under_trio
from .user_code import pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Self

__all__ = [
    "AddressUnreachable",
    "ChildEnded",
    "ChildGivenUp",
    "ChildRestarted",
    "Event",
    "EventBus",
    "Events",
    "GroupFailed",
    "MemberEvent",
    "MemberFailed",
    "MemberForgotten",
    "MemberJoined",
    "MemberLeft",
    "MemberSuspected",
    "MemberTrusted",
    "MemberUpdated",
    "OrphanedCall",
    "RumorFailed",
    "ServiceFailed",
    "SettingChanged",
    "SettingConflict",
    "TaskFailed",
]

_log = limited_log(__name__)

_KEPT: Final = 4096


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all events of `node.events()`.

    Attributes:
        node: the address of the node concerned.
    """

    node: NodeAddress

    def __post_init__(self) -> None:
        """Convert the node from any form that `NodeAddress.of` accepts."""
        if not isinstance(self.node, NodeAddress):
            msgspec.structs.force_setattr(self, "node", NodeAddress.of(self.node))

    @property
    def sid(self) -> SID:
        """The short identifier of that node."""
        return self.node.sid


class OrphanedCall(Event, frozen=True, kw_only=True):
    """A cancelled call whose handler did not confirm its end in time.

    Attributes:
        node: the node whose handler may still be running.
        gid, service, method, id: the call.
    """

    gid: str
    service: str
    method: str
    id: str


class ChildEnded(Event, frozen=True, kw_only=True):
    """A spawned node has ended, by itself or not.

    Attributes:
        node: its address.
        status: its exit status: 0 when it was stopped, minus the signal's number when a signal killed it. An
            `ObservedStatus` if its own process's exit was observed; then the cluster already knows.
    """

    status: int


class ChildRestarted(Event, frozen=True, kw_only=True):
    """A spawned node has been started again.

    Attributes:
        node: its address.
        restarts: how many restarts there have been within the last 30 s.
    """

    restarts: int


class ChildGivenUp(Event, frozen=True, kw_only=True):
    """A spawned node ends too often, and is not started again.

    Attributes:
        node: its address.
        restarts: how many restarts there have been within the last 30 s.
    """

    restarts: int


class TaskFailed(Event, frozen=True, kw_only=True):
    """A run of a periodic task of this node has failed; the task continues.

    Attributes:
        node: this node.
        id: the task's.
        gid: the group of the task.
        error: the exception, as text.
    """

    id: str
    gid: str
    error: str


class RumorFailed(Event, frozen=True, kw_only=True):
    """The method that a rumor calls has failed on this node; the rumor is still passed on.

    Attributes:
        node: this node.
        id: the rumor's.
        gid: the group of the rumor.
        error: the exception, as text.
    """

    id: str
    gid: str
    error: str


class ServiceFailed(Event, frozen=True, kw_only=True):
    """A service that a group keeps for its members can't be put on this node: ``routes.put(..., keep=True)``.

    Attributes:
        node: this node.
        gid: the group.
        service: the service's name.
        error: the exception, as text.
    """

    gid: str
    service: str
    error: str


class GroupFailed(Event, frozen=True, kw_only=True):
    """A group by rule that another group keeps for its members can't be put on this node.

    Attributes:
        node: this node.
        gid: the group that keeps it.
        group: the gid of the group that can't be put.
        error: the exception, as text.
    """

    gid: str
    group: str
    error: str


class SettingChanged(Event, frozen=True, kw_only=True):
    """A setting has another value on this node, or is there no more. Writing the same value again is no change.

    Attributes:
        node: this node.
        gid: the group of the setting.
        key: its key.
        value: its value; None if it is removed; a `DecodeError` if this node can't decode it.
        is_removed: whether it is removed.
        by: the node that wrote it; None if its name is no address.
    """

    gid: str
    key: str
    value: Any
    is_removed: bool
    by: NodeAddress | None


class SettingConflict(Event, frozen=True, kw_only=True):
    """Two nodes have written one setting, and the one whose value holds had not seen the other's, which is lost.

    Each node that receives both has this event: the one whose value is lost at least, as long as it runs.

    Attributes:
        node: this node.
        gid: the group of the setting.
        key: its key.
        value: the value that holds; None for a removal; a `DecodeError` if this node can't decode it.
        is_removed: whether the removal holds.
        by: the node that wrote what holds; None if its name is no address.
        lost: the lost value, as `value`.
        is_lost_removal: whether a removal is lost.
        lost_by: the node that wrote what is lost, as `by`.
    """

    gid: str
    key: str
    value: Any
    is_removed: bool
    by: NodeAddress | None
    lost: Any
    is_lost_removal: bool
    lost_by: NodeAddress | None


class MemberEvent(Event, frozen=True, kw_only=True):
    """A member of this node's cluster has changed.

    Attributes:
        node: the member's address.
        incarnation: the incarnation of the statement behind the event; only the member itself raises it.
        tags: the member's tags.
    """

    incarnation: int
    tags: dict[str, str]


class MemberJoined(MemberEvent, frozen=True, kw_only=True):
    """It has joined: new, back after a failure or a leave, or restarted."""


class MemberSuspected(MemberEvent, frozen=True, kw_only=True):
    """It does not answer another member, and has some seconds to refute that. It still counts as a member."""


class MemberTrusted(MemberEvent, frozen=True, kw_only=True):
    """It has refuted a suspicion."""


class MemberFailed(MemberEvent, frozen=True, kw_only=True):
    """It has failed, and is removed from all groups on all nodes. Or a restarted node has replaced it."""


class MemberLeft(MemberEvent, frozen=True, kw_only=True):
    """It has left the cluster."""


class MemberUpdated(MemberEvent, frozen=True, kw_only=True):
    """Its tags have changed."""


class MemberForgotten(Event, frozen=True, kw_only=True):
    """An operator has had this node forget a member that had failed or left: it does not come back.

    Attributes:
        node: its address.
    """


class AddressUnreachable(Event, frozen=True, kw_only=True):
    """A node is heard, but can't be reached at the address that it advertises; both nodes get the event.

    It comes again while that goes on, at most once a minute.

    Attributes:
        node: the advertised address; of this node itself, if that is the one that can't be reached.
        by: the node that can't reach it.
    """

    by: NodeAddress


class Events:
    """The events of one node since the subscription, as an async iterator; made by ``node.events()``.

    At most 4,096 events are kept: a slow reader loses the oldest.

    Attributes:
        lost: how many events were lost so far.
    """

    def __init__(self) -> None:
        self._kept: deque[Event] = deque()
        self._news = trio.lowlevel.ParkingLot()
        self._has_ended = False
        self.lost: int = 0

    def __aiter__(self) -> Self:
        return self

    if not TYPE_CHECKING:  # type checkers refuse both

        def __iter__(self) -> NoReturn:
            raise TypeError("'for' instead of 'async for': write 'async for event in node.events():'")

        def __await__(self) -> NoReturn:
            raise TypeError("'await' instead of 'async for': write 'async for event in node.events():'")

    async def __anext__(self) -> Event:
        """Return the next event; wait until there is one. The iterator ends with the node."""
        check_under_trio("node.events()")
        await trio.lowlevel.checkpoint()
        while not self._kept:
            if self._has_ended:
                raise StopAsyncIteration
            await self._news.park()
        return self._kept.popleft()

    def put(self, event: Event) -> None:
        """Add an event."""
        if len(self._kept) == _KEPT:
            self._kept.popleft()
            self.lost += 1
        self._kept.append(event)
        self._news.unpark()

    def end(self) -> None:
        """End after the events that are kept."""
        self._has_ended = True
        self._news.unpark_all()


class EventBus:
    """Publishes events to listeners and subscribers."""

    def __init__(self) -> None:
        # Not a WeakSet: subscribers receive events in the order of subscription.
        self._subscribers: weakref.WeakKeyDictionary[Events, None] = weakref.WeakKeyDictionary()
        self._listeners: list[Callable[[Event], None]] = []
        self._is_closed = False

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event, before subscribers receive it.

        Raises:
            MalformedRequest: it is no plain function.
        """
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise MalformedRequest(
                f"a listener is a plain function of an event, not {listener!r:.80}: "
                f"for code that waits, use an 'async for' over node.events()"
            )
        self._listeners.append(listener)

    def watch(self) -> Events:
        """Return an iterator over the events from now on. The subscription ends when it is garbage-collected."""
        events = Events()
        self._subscribers[events] = None
        if self._is_closed:
            events.end()
        return events

    def publish(self, event: Event) -> None:
        """Publish `event` to all listeners and subscribers."""
        for listener in self._listeners:
            try:
                listener(event)
            except BaseException as exc:
                pass_endings(exc)
                _log.exception("a listener failed at %s", type(event).__name__)
        if len(self._subscribers):  # mostly there is none, and a list of weak references takes a while
            for events in list(self._subscribers):
                events.put(event)

    def close(self) -> None:
        """Remove all listeners, and end all subscriptions."""
        self._is_closed = True
        self._listeners.clear()
        for events in list(self._subscribers):
            events.end()
