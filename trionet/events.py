"""What a node has to tell those who watch it."""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from .errors import MalformedRequest
from .identity import SID, NodeAddress
from .log_limits import limited_log
from .user_code import pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = [
    "ChildEnded",
    "ChildGivenUp",
    "ChildRestarted",
    "Event",
    "EventBus",
    "Events",
    "MemberEvent",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberSuspected",
    "MemberTrusted",
    "MemberUpdated",
    "OrphanedCall",
    "RumorFailed",
    "TaskFailed",
]

_log = limited_log(__name__)

_KEPT: Final = 4096


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of everything that `node.events()` gives.

    Attributes:
        node: the address of the node that it is about.
    """

    node: NodeAddress

    def __post_init__(self) -> None:
        """Take the node in any form that `NodeAddress.of` does."""
        if not isinstance(self.node, NodeAddress):
            msgspec.structs.force_setattr(self, "node", NodeAddress.of(self.node))

    @property
    def sid(self) -> SID:
        """The short identifier of that node."""
        return self.node.sid


class OrphanedCall(Event, frozen=True, kw_only=True):
    """A cancelled call whose handler did not confirm in time that it has finished.

    Attributes:
        node: where the handler may still be running.
        gid, service, method, id: the call.
    """

    gid: str
    service: str
    method: str
    id: str


class ChildEnded(Event, frozen=True, kw_only=True):
    """A node that this one has spawned has ended, by itself or not.

    Attributes:
        node: its address.
        status: its exit status: 0 when it was stopped, minus the signal's number when a signal killed it.
    """

    status: int


class ChildRestarted(Event, frozen=True, kw_only=True):
    """A node that this one has spawned has been started again.

    Attributes:
        node: its address.
        restarts: how many restarts there have been within the last 30 s.
    """

    restarts: int


class ChildGivenUp(Event, frozen=True, kw_only=True):
    """A node that this one has spawned ends too often, and is not started again.

    Attributes:
        node: its address.
        restarts: how many restarts there have been within the last 30 s.
    """

    restarts: int


class TaskFailed(Event, frozen=True, kw_only=True):
    """A run of a periodic task of this node has failed; the task goes on.

    Attributes:
        node: this node.
        id: the task's.
        gid: the group that it was made in.
        error: what was raised.
    """

    id: str
    gid: str
    error: str


class RumorFailed(Event, frozen=True, kw_only=True):
    """A rumor came, and the method that it calls failed here; it is passed on all the same.

    Attributes:
        node: this node.
        id: the rumor's.
        gid: the group that it goes through.
        error: what was raised.
    """

    id: str
    gid: str
    error: str


class MemberEvent(Event, frozen=True, kw_only=True):
    """Something has changed about a member of this node's cluster.

    Attributes:
        node: the member's address.
        incarnation: the number of the statement that this follows from; only the member itself raises it.
        tags: what it tells of itself.
    """

    incarnation: int
    tags: dict[str, str]


class MemberJoined(MemberEvent, frozen=True, kw_only=True):
    """It is there: new, back after a failure or a leave, or started again."""


class MemberSuspected(MemberEvent, frozen=True, kw_only=True):
    """It does not answer somebody, and has some seconds to refute that it has failed. It still counts as a member."""


class MemberTrusted(MemberEvent, frozen=True, kw_only=True):
    """It has refuted a suspicion."""


class MemberFailed(MemberEvent, frozen=True, kw_only=True):
    """It has failed: it is in no group any more, here and on every other node. Or its place was taken by a new life."""


class MemberLeft(MemberEvent, frozen=True, kw_only=True):
    """It has left by its own will."""


class MemberUpdated(MemberEvent, frozen=True, kw_only=True):
    """Its tags have changed."""


class Events:
    """The events of one node from the moment of its making, as an async iterator; made by ``node.events()``.

    A reader that falls behind loses the oldest ones: at most 4,096 are kept.

    Attributes:
        lost: how many it has lost so far.
    """

    def __init__(self) -> None:
        self._kept: deque[Event] = deque()
        self._news = trio.lowlevel.ParkingLot()
        self._has_ended = False
        self.lost: int = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; wait until there is one. The iterator ends with the node."""
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
        """Give what is there, and then end."""
        self._has_ended = True
        self._news.unpark_all()


class EventBus:
    """Passes each event on to whoever watches."""

    def __init__(self) -> None:
        # Not a WeakSet: those who watch are told in the order in which they began to.
        self._watching: weakref.WeakKeyDictionary[Events, None] = weakref.WeakKeyDictionary()
        self._listeners: list[Callable[[Event], None]] = []
        self._is_closed = False

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called with each event, before it is given to those who watch.

        Raises:
            MalformedRequest: it is no plain function.
        """
        if not callable(listener) or inspect.iscoroutinefunction(listener):
            raise MalformedRequest(
                f"a listener is a plain function of an event, not {listener!r:.80}: "
                f"what has to wait goes into an 'async for' over node.events()"
            )
        self._listeners.append(listener)

    def watch(self) -> Events:
        """Return an iterator over the events from now on; it ends its subscription by being dropped."""
        events = Events()
        self._watching[events] = None
        if self._is_closed:
            events.end()
        return events

    def publish(self, event: Event) -> None:
        """Give `event` to all who listen and watch."""
        for listener in self._listeners:
            try:
                listener(event)
            except BaseException as exc:
                pass_endings(exc)
                _log.exception("a listener failed at %s", type(event).__name__)
        for events in list(self._watching):
            events.put(event)

    def close(self) -> None:
        """Remove all listeners, and end all iterators."""
        self._is_closed = True
        self._listeners.clear()
        for events in list(self._watching):
            events.end()
