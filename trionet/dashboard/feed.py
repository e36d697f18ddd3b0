"""The dashboard of one node: its files, its viewers, and the topics that they look at.

Invariants: a topic is gathered while somebody looks at it, and only then; there are at most `MOST_VIEWERS` viewers.
"""

from __future__ import annotations

import contextvars
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import TemporarilyUnavailable
from trionet.log_limits import about, limited_log

from .channel import EVERY_S, Channel
from .glances import Glances
from .looked_at import asked_of
from .static_files import static_file
from .topics import TOPICS
from .viewer import News, Viewer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping

    from trionet.identity import SID

    from .looked_at import LookedAt
    from .static_files import StaticFile
    from .subject import Subject

__all__ = ["MOST_VIEWERS", "Dashboard"]

_log = limited_log(__name__)

MOST_VIEWERS: Final = 64
"""The streams of one node at once; a page has two."""

_END_S: Final = 0.3
"""The time that a viewer has to read the end of its stream when the node stops."""


class Dashboard:
    """Fulfils `trionet.transports.shown.Dashboard` for one node."""

    def __init__(self, subject: Subject, nursery: trio.Nursery) -> None:
        """Show the cluster of `subject`; what is looked at is gathered in `nursery`."""
        self._subject = subject
        self._nursery = nursery
        self._news = News()
        self._channels: dict[str, Channel] = {}
        self._glances = Glances(subject)
        self._glancing: trio.CancelScope | None = None
        self._aborts: dict[object, Callable[[], None]] = {}

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return len(self._aborts)

    @property
    def gathered(self) -> list[str]:
        """The names of the topics that are gathered."""
        return list(self._channels)

    async def file(self, name: str) -> StaticFile | None:
        """Return a file of the page; None if there is none with that name. Raises `OSError` if it can't be read."""
        return await static_file(name)

    def stream(self, query: Mapping[str, str], abort: Callable[[], None]) -> AsyncGenerator[bytes]:
        """Return the events of a viewer's stream; it is a viewer while they are iterated over.

        Args:
            query: what it looks at: ``topics``, ``of``, ``node`` and ``rumor``; see `asked_of`.
            abort: called when the node stops, and the viewer doesn't read the end of its stream.

        Raises:
            MalformedRequest: the query can't be used.
            TemporarilyUnavailable: there are too many viewers, or the node is stopping.
        """
        looked_at = asked_of(query, TOPICS)
        if self._news.is_closed or self._subject.is_stopping:
            raise TemporarilyUnavailable("the node is stopping")
        if self.viewers >= MOST_VIEWERS:
            raise TemporarilyUnavailable(f"{MOST_VIEWERS} streams are open already: close a page, or ask another node")
        return self._messages(looked_at, abort)

    async def _messages(self, looked_at: LookedAt, abort: Callable[[], None]) -> AsyncGenerator[bytes]:
        if self.viewers >= MOST_VIEWERS:
            return  # others have come since `stream`: the page tries again later, and is told
        key = object()
        self._aborts[key] = abort
        try:
            channels = self._subscribed(looked_at)
            async with aclosing(Viewer(looked_at, channels, self._news).messages()) as messages:
                async for message in messages:
                    yield message
        finally:
            del self._aborts[key]
            self._unsubscribe(looked_at)

    def _subscribed(self, looked_at: LookedAt) -> dict[str, Channel]:
        for name in looked_at.topics:
            if name not in self._channels:
                topic = TOPICS[name].begin(self._subject, self._glances)
                self._channels[name] = channel = Channel(topic, self._news.tell, self._subject.address)
                self._start(channel.run, f"dashboard {name}")
            self._channels[name].add(looked_at)
        if self._glancing is None and self._needs_glances():
            self._glancing = trio.CancelScope()
            self._start(partial(self._glance, self._glancing), "dashboard glances")
        return {name: self._channels[name] for name in looked_at.topics}

    def _start(self, run: Callable[[], Awaitable[None]], name: str) -> None:
        # Without the context of the request, which would live as long.
        contextvars.Context().run(partial(self._nursery.start_soon, run, name=name))

    def _unsubscribe(self, looked_at: LookedAt) -> None:
        for name in looked_at.topics:
            channel = self._channels.get(name)
            if channel is not None and channel.remove(looked_at):
                self._channels.pop(name).scope.cancel()
        if self._glancing is not None and not self._needs_glances():
            self._glancing.cancel()
            self._glancing = None
            self._glances = Glances(self._subject)

    def _needs_glances(self) -> bool:
        return any(channel.topic.needs_glances for channel in self._channels.values())

    async def _glance(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                try:
                    await self._glances.run(self._in_sight, self._gather_soon)
                except Exception as exc:  # of whatever a glance meets: the node goes on
                    own = self._subject.address
                    _log.warning("the dashboard can't glance at members", exc_info=exc, extra=about(own, node=own))
                    await trio.sleep(EVERY_S)

    def _gather_soon(self) -> None:
        for channel in self._channels.values():
            if channel.topic.needs_glances:
                channel.kick()

    def _in_sight(self) -> Collection[SID]:
        details = self._channels.get("details")
        return () if details is None else details.looked_at.of

    def close(self) -> None:
        """End the streams of all viewers: the node is stopping."""
        if not self._news.is_closed and self._aborts:
            self._nursery.start_soon(self._end_late)
        self._news.close()

    async def _end_late(self) -> None:
        await trio.sleep(_END_S)
        for abort in list(self._aborts.values()):
            abort()
