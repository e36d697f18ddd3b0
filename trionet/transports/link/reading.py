"""Reading of many links: one task for all of a Trio run, with an epoll of its own.

To wait for a socket by Trio takes a system call, and a step of a task, for each input. Where each of many links has a
little input, that is as much as what the input itself takes. So a link that waits stays registered here, and one task
receives the input of all that are ready. With few links a task for each is as fast.

Invariants: a link's input is handled in the context of the link's own task, which is parked meanwhile, and an exception
of it is raised there. A link that closes, or whose task runs, is not registered.

Source: epoll(7): an epoll can be waited for by another one.
"""

from __future__ import annotations

import select
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

import outcome
import trio

from trionet.transports.readiness import wait_readable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .polling import BusyPoll

__all__ = ["LinkReader", "Reading"]

_READ_BYTES: Final = 256 * 1024
"""The most bytes of one input."""

_FEW_LINKS: Final = 8
_MOST_AT_ONCE: Final = 64


class Reading:
    """Reads one link.

    Args:
        sock: its socket.
        poll: tells when to spin for input.
    """

    __slots__ = ("_handle", "_poll", "_receive", "_task", "fd", "sock")

    def __init__(self, sock: socket.socket, poll: BusyPoll) -> None:
        self.sock: socket.socket = sock
        self.fd: int = sock.fileno()
        self._receive = sock.recv
        self._poll = poll
        self._handle: Callable[[bytes], bool] = _ends
        self._task: trio.lowlevel.Task | None = None

    async def run(self, handle: Callable[[bytes], bool]) -> None:
        """Receive input until its end; ``handle(data)`` handles it, and returns whether to read on.

        Ctrl-C must reach `handle`, which runs handlers, also within a system task.

        Raises:
            OSError: the connection broke.
        """
        self._handle = handle
        reader = LinkReader.of_this_run()
        reader.links += 1
        try:
            size = 0
            while (data := await self._next(reader, size)) and handle(data):
                size, data = len(data), b""  # free the memory before waiting
        finally:
            reader.links -= 1
            self._handle, self._task = _ends, None  # breaks reference cycles

    async def _next(self, reader: LinkReader, before: int) -> bytes:
        """Return the next input, after one of `before` bytes; nothing at the end."""
        receive = self._receive
        if before == _READ_BYTES:
            await trio.lowlevel.checkpoint()  # more is probably available; let other tasks run first
        elif before:
            if self._poll.is_worth_it():
                data = await self._poll.look(receive, _READ_BYTES)
                if data is not None:
                    return data
            if reader.is_worth_it and reader.begins():  # the socket is drained
                return await reader.received(self)
            await wait_readable(self.sock)
        while True:
            try:
                return receive(_READ_BYTES)
            except BlockingIOError:
                await wait_readable(self.sock)

    # ---- for the reader of many links

    async def parked(self, abort: Callable[[Any], trio.lowlevel.Abort]) -> bytes:
        """Wait for an input that the link's own task has to handle, and return it; raise what went wrong."""
        self._task = trio.lowlevel.current_task()
        data: bytes = await trio.lowlevel.wait_task_rescheduled(abort)
        return data

    def read(self) -> outcome.Outcome[bytes] | None:
        """Receive and handle an input; return what the link's own task has to handle instead: what `parked` returns.

        That is the end of the input, an exception, and an input after which the link may spin for the next one.
        """
        task = self._task
        assert task is not None
        try:
            data = self._receive(_READ_BYTES)
            if not data or self._poll.is_last:
                return outcome.Value(data)
            self._poll.is_worth_it()
            task.context.run(self._handle, data)
        except BlockingIOError:
            return None
        except BaseException as exc:  # the task raises it
            return outcome.Error(exc)
        return None

    def wake(self, found: outcome.Outcome[bytes]) -> None:
        """Have `parked` return, or raise."""
        task, self._task = self._task, None
        assert task is not None
        trio.lowlevel.reschedule(task, found)


def _ends(_: bytes) -> bool:
    return False


class LinkReader:
    """Reads links of one Trio run.

    Attributes:
        links: how many links there are in the run.
    """

    def __init__(self) -> None:
        self.links: int = 0
        self._epoll: select.epoll | None = None
        self._waiting: dict[int, Reading] = {}

    @classmethod
    def of_this_run(cls) -> LinkReader:
        """Return the reader of the caller's Trio run."""
        try:
            return _reader.get()
        except LookupError:
            _reader.set(reader := cls())
            return reader

    @property
    def is_worth_it(self) -> bool:
        """Whether there are so many links that to wait here is faster than `trio.lowlevel.wait_readable`."""
        return self.links > _FEW_LINKS and hasattr(select, "epoll")

    def begins(self) -> bool:
        """Begin to read links, unless it does; return False if no descriptor is free for that."""
        if self._epoll is None:
            try:
                self._epoll = select.epoll()
            except OSError:
                return False
            trio.lowlevel.spawn_system_task(self._run, self._epoll, name="links")
        return True

    async def received(self, reading: Reading) -> bytes:
        """Wait for a link's input and handle it, until there is one that the link's own task has to handle; return it.

        Raises:
            OSError: the connection broke.
        """
        assert self._epoll is not None
        self._epoll.register(reading.fd, select.EPOLLIN)
        self._waiting[reading.fd] = reading

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(reading)
            return trio.lowlevel.Abort.SUCCEEDED

        return await reading.parked(abort)

    def _forget(self, reading: Reading) -> None:
        del self._waiting[reading.fd]
        if self._epoll is not None:
            with suppress(OSError):  # the socket is closed
                self._epoll.unregister(reading.fd)

    async def _run(self, epoll: select.epoll) -> None:
        """Receive what comes, until cancelled."""
        with closing(epoll):
            try:
                while True:
                    await trio.lowlevel.wait_readable(epoll.fileno())
                    for fd, _ in epoll.poll(0, _MOST_AT_ONCE):
                        reading = self._waiting.get(fd)
                        found = None if reading is None else reading.read()
                        if found is not None and self._waiting.get(fd) is reading:
                            assert reading is not None
                            self._forget(reading)
                            reading.wake(found)
            finally:
                self._epoll = None


_reader: trio.lowlevel.RunVar[LinkReader] = trio.lowlevel.RunVar("trionet.link_reader")
