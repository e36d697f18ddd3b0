"""What a node has to tell those who watch it."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import trio

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

_KEPT = 4096


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of everything that `node.events()` gives."""


class OrphanedCall(Event, frozen=True, kw_only=True):
    """A cancelled call whose handler did not confirm in time that it has finished.

    Attributes:
        node: where the handler may still be running, as ``"ip:port"``.
        gid, service, method, id: the call.
    """

    node: str
    gid: str
    service: str
    method: str
    id: str


class ChildEnded(Event, frozen=True, kw_only=True):
    """A node that this one has spawned has ended, by itself or not.

    Attributes:
        node: its address, as ``"ip:port"``.
        status: its exit status: 0 when it was stopped, minus the signal's number when a signal killed it.
    """

    node: str
    status: int


class ChildRestarted(Event, frozen=True, kw_only=True):
    """A node that this one has spawned has been started again.

    Attributes:
        node: its address, as ``"ip:port"``.
        restarts: how many restarts there have been within the last 30 s.
    """

    node: str
    restarts: int


class ChildGivenUp(Event, frozen=True, kw_only=True):
    """A node that this one has spawned ends too often, and is not started again.

    Attributes:
        node: its address, as ``"ip:port"``.
        restarts: how many restarts there have been within the last 30 s.
    """

    node: str
    restarts: int


class TaskFailed(Event, frozen=True, kw_only=True):
    """A run of a periodic task of this node has failed; the task goes on.

    Attributes:
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
        node: its address, as ``"ip:port"``.
        sid: its short identifier.
        incarnation: the number of the statement that this follows from; only the member itself raises it.
        tags: what it tells of itself.
    """

    node: str
    sid: str
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
        self.lost: int = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; wait until there is one."""
        await trio.lowlevel.checkpoint()
        while not self._kept:
            await self._news.park()
        return self._kept.popleft()

    def put(self, event: Event) -> None:
        """Add an event."""
        if len(self._kept) == _KEPT:
            self._kept.popleft()
            self.lost += 1
        self._kept.append(event)
        self._news.unpark()


class EventBus:
    """Passes each event on to whoever watches."""

    def __init__(self) -> None:
        # Not a WeakSet: those who watch are told in the order in which they began to.
        self._watching: weakref.WeakKeyDictionary[Events, None] = weakref.WeakKeyDictionary()
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called with each event, before it is given to those who watch."""
        self._listeners.append(listener)

    def clear(self) -> None:
        """Forget who listens."""
        self._listeners.clear()

    def watch(self) -> Events:
        """Return an iterator over the events from now on; it ends its subscription by being dropped."""
        events = Events()
        self._watching[events] = None
        return events

    def publish(self, event: Event) -> None:
        """Give `event` to all who listen and watch."""
        for listener in self._listeners:
            listener(event)
        for events in list(self._watching):
            events.put(event)
