"""The connections of one node to other machines, each for all the nodes that it starts there.

A launcher finds them in the context of its task, as it does `trionet.launchers.passed_keys`; so those that wrap one of
trionet's share them, too.

Invariants: there is at most one connection to the same place, and at most one login to it at a time. Who waits for a
login shares its failure; the next one tries again. A login that nobody waits for any more is given up. Connections end
with the launchers of their node.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio

from trionet.errors import SpawnError
from trionet.nurseries import open_plain_nursery

from .needs import NO_NEEDS, Needs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

__all__ = ["Connection", "Connections", "Place", "open_connections"]


class Connection(Protocol):
    """A connection that may break."""

    @property
    def is_alive(self) -> bool:
        """Whether it may still be used."""
        ...

    def finish(self) -> None:
        """Have it end; the nodes that were started through it have ended, or end with it."""
        ...


C = TypeVar("C", bound=Connection)
C_co = TypeVar("C_co", bound=Connection, covariant=True)


class Place(Protocol[C_co]):
    """What is connected to; equal ones share a connection."""

    async def connect(self, needs: Needs, nursery: trio.Nursery, *, task_status: trio.TaskStatus[C_co]) -> None:
        """Connect, report the connection, and return when it has ended.

        Args:
            needs: what the nodes need.
            nursery: outlives the connection, and all nodes.
            task_status: to report to.

        Raises:
            SpawnError: there is no connection; the text is the reason.
        """
        ...

    def __hash__(self) -> int: ...


class _Attempt(trio.TaskStatus[Any], Generic[C]):
    """One connection, from the beginning of the login to the end."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.decided = trio.Event()
        self.ended = trio.Event()
        self.waiting = 0
        self.connection: C | None = None
        self.failure = "the login was given up"

    @property
    def is_usable(self) -> bool:
        """Whether it is connected, or may be soon."""
        if self.connection is None:
            return not self.decided.is_set() and not self.scope.cancel_called
        return self.connection.is_alive

    def started(self, value: C | None = None) -> None:
        self.connection = value
        self.decided.set()

    async def run(self, place: Place[C], needs: Needs, nursery: trio.Nursery) -> None:
        """Connect, and stay until the end."""
        try:
            with self.scope:
                await place.connect(needs, nursery, task_status=self)
        except SpawnError as exc:
            self.failure = exc.text
        finally:
            self.decided.set()
            self.ended.set()

    async def wait(self) -> C:
        """Return the connection; the last one that doesn't wait any longer gives the login up, and waits for its end.

        Raises:
            SpawnError: there is none.
        """
        self.waiting += 1
        try:
            await self.decided.wait()
        finally:
            self.waiting -= 1
            if not self.waiting and not self.decided.is_set():
                self.scope.cancel()
                with trio.CancelScope(shield=True):
                    await self.ended.wait()
        if self.connection is None:
            raise SpawnError(self.failure)
        return self.connection

    def finish(self) -> None:
        if self.connection is None:
            self.scope.cancel()
        else:
            self.connection.finish()


class Connections:
    """Those of one node.

    Args:
        nursery: where they live; it must outlive all nodes.
        needs: what the nodes need.
    """

    def __init__(self, nursery: trio.Nursery, needs: Needs = NO_NEEDS) -> None:
        self._nursery = nursery
        self._needs = needs
        self._attempts: dict[Any, _Attempt[Any]] = {}

    async def get(self, place: Place[C]) -> C:
        """Return the connection to `place`, which is opened unless there is one.

        Raises:
            SpawnError: there is none; the text is the reason.
        """
        attempt: _Attempt[C] | None = self._attempts.get(place)
        if attempt is None or not attempt.is_usable:
            attempt = self._attempts[place] = _Attempt()
            self._nursery.start_soon(attempt.run, place, self._needs, self._nursery)
        return await attempt.wait()

    def close(self) -> None:
        """Have all of them end."""
        for attempt in self._attempts.values():
            attempt.finish()

    @contextmanager
    def passed(self) -> Generator[None]:
        """Have the launchers of nodes that the block starts use these."""
        token = _of_task.set(self)
        try:
            yield
        finally:
            _of_task.reset(token)


_of_task: ContextVar[Connections | None] = ContextVar("trionet_connections", default=None)


@asynccontextmanager
async def open_connections() -> AsyncGenerator[Connections]:
    """Yield those of the node that starts a node in this task; without one, some for this block alone."""
    connections = _of_task.get()
    if connections is not None:
        yield connections
        return
    async with open_plain_nursery() as nursery:
        connections = Connections(nursery)
        try:
            yield connections
        finally:
            connections.close()
