"""The tasks of ASGI apps on one connection: one for each request, with a queue of messages to it.

Invariants: a queue is bounded, so that a body that is not read stops the reading of its connection; a message waits
only for room. What is sent to an app that has ended is dropped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from hypercorn.trio.task_group import TaskGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, Scope

__all__ = ["App", "AppTasks"]

App: TypeAlias = "Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]"
"""An ASGI app."""


class AppTasks(TaskGroup):
    """Hypercorn's group of tasks, in a nursery of ours."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self._nursery = nursery

    async def spawn_app(
        self,
        app: Any,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Run an app for one request; return what gives it a message. ``send(None)`` is called at its end."""
        inbox = _Inbox(config.max_app_queue_size)
        assert self._nursery is not None
        self._nursery.start_soon(_run, app, config, scope, inbox, send)
        return inbox.put


async def _run(
    app: App,
    config: Config,
    scope: Scope,
    inbox: _Inbox,
    send: Callable[[ASGISendEvent | None], Awaitable[None]],
) -> None:
    try:
        await app(scope, inbox.receive, send)
    except BaseExceptionGroup as group:
        _, failures = group.split(trio.Cancelled)
        if failures is None:
            raise
        await config.log.exception("Error in ASGI Framework")
    except Exception:  # the app's, which ends this request only
        await config.log.exception("Error in ASGI Framework")
    finally:
        inbox.close()
        await send(None)


class _Inbox:
    """The messages to one app."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: deque[ASGIReceiveEvent] = deque()
        self._changed = trio.lowlevel.ParkingLot()
        self._is_closed = False

    async def put(self, message: ASGIReceiveEvent) -> None:
        while len(self._messages) >= self._size and not self._is_closed:
            await self._changed.park()
        if not self._is_closed:
            self._messages.append(message)
            self._changed.unpark_all()

    async def receive(self) -> ASGIReceiveEvent:
        while not self._messages:
            await self._changed.park()
        self._changed.unpark_all()
        return self._messages.popleft()

    def close(self) -> None:
        self._is_closed = True
        self._changed.unpark_all()
