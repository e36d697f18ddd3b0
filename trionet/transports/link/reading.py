"""Reading of a link: its input is received where the Trio run waits, without a step of the link's task.

Invariants: a link's input is handled as its own task would, which is parked meanwhile, and an exception of it is raised
there. A link that closes, or whose task runs, is not watched.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from trionet.transports.readiness import wait_readable
from trionet.trio_waits import Inputs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .polling import BusyPoll

__all__ = ["Reading"]

_READ_BYTES: Final = 64 * 1024
"""The most bytes of one input. For 128 KiB and more the C library takes memory from the system each time, even if
little comes. Source: mallopt(3), M_MMAP_THRESHOLD."""

_LONG_BYTES: Final = 256 * 1024
"""The same after an input that had the most bytes."""


class Reading:
    """Reads one link.

    Args:
        sock: its socket.
        poll: tells when to spin for input.
    """

    __slots__ = ("_handle", "_has_ended", "_inputs", "_most", "_poll", "_receive", "fd", "sock")

    def __init__(self, sock: socket.socket, poll: BusyPoll) -> None:
        self.sock: socket.socket = sock
        self.fd: int = sock.fileno()
        self._receive = sock.recv
        self._most = _READ_BYTES
        self._poll = poll
        self._handle: Callable[[bytes], bool] = _ends
        self._inputs: Inputs = Inputs.of_this_run()
        self._has_ended = False

    async def run(self, handle: Callable[[bytes], bool]) -> None:
        """Receive input until its end; ``handle(data)`` handles it, and returns whether to read on.

        Ctrl-C must reach `handle`, which runs handlers, also within a system task.

        Raises:
            OSError: the connection broke.
        """
        self._handle = handle
        self._inputs.users += 1
        try:
            is_first = True
            while (data := await self._next(is_first=is_first)) and handle(data):
                is_first, data = False, b""  # free the memory before waiting
        finally:
            self._inputs.users -= 1
            self._handle = _ends  # breaks a reference cycle

    async def _next(self, *, is_first: bool) -> bytes:
        """Return the next input; nothing at the end."""
        is_drained = self._most == _READ_BYTES  # what comes before the first wait ends that at once
        is_soon = is_drained and not is_first and self._poll.is_worth_it()
        if not is_drained:
            await trio.lowlevel.checkpoint()  # more is probably available; let other tasks run first
        while True:
            if is_soon and (data := await self._poll.look(self._receive_next)) is not None:
                return data
            if not is_drained:
                with suppress(BlockingIOError):
                    return self._receive_next()
            if not (self._inputs.is_worth_it and self._inputs.begin()):
                await wait_readable(self.sock)
                is_drained = is_soon = False
            else:
                await self._inputs.receive(self.fd, self._handle_next)
                if self._has_ended:
                    return b""
                is_drained = is_soon = True

    def _receive_next(self) -> bytes:
        most = self._most
        data = self._receive(most)
        self._most = _LONG_BYTES if len(data) == most else _READ_BYTES
        return data

    def _handle_next(self) -> bool:
        """Receive and handle an input while the task waits; return whether that is to go on."""
        try:
            data = self._receive_next()
        except BlockingIOError:
            return False
        if not data:
            self._has_ended = True
            return True
        self._handle(data)
        return self._poll.is_worth_it()


def _ends(_: bytes) -> bool:
    return False
