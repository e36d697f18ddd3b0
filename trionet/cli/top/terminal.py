r"""A terminal for a whole screen, with keys, under Trio.

Invariants: the terminal is as before when the block ends, however it ends, and while the process is stopped: by Ctrl-Z,
too. Ctrl-C, Ctrl-Z and Ctrl-\ stay signals. Nothing waits for a key: the loop goes on.

Source: termios(3), the job control of POSIX (XBD, 11.1.4), and xterm's control sequences for the alternate screen.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import termios
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.forks import receive_signals
from trionet.nurseries import open_background_nursery

from .keys import decoded_keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

__all__ = ["Terminal", "open_terminal"]

_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_MOST_EVENTS: Final = 256
_MOST_BYTES: Final = 4096
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """A terminal in use.

    Attributes:
        events: what has happened, in order: the names of keys, ``resize`` when all has to be drawn again, and ``end``.
        ended_by: the signal that has ended it; None for none.
    """

    def __init__(self, events: trio.MemoryReceiveChannel[str]) -> None:
        self.events: trio.MemoryReceiveChannel[str] = events
        self.ended_by: signal.Signals | None = None
        self._descriptor = sys.stdin.fileno()
        self._before: list[Any] | None = None
        with suppress(termios.error, OSError):
            if os.isatty(self._descriptor):
                self._before = termios.tcgetattr(self._descriptor)

    @property
    def has_keys(self) -> bool:
        """Whether there are keys: standard input is a terminal, too."""
        return self._before is not None

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height."""
        found = shutil.get_terminal_size()
        return max(1, found.columns), max(1, found.lines)

    def enter(self) -> None:
        """Take the whole screen; and keys one at a time, not shown."""
        if self._before is not None:
            mode = [*self._before]
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, mode)
        self._write(_ENTER)

    def leave(self) -> None:
        """Give all back."""
        self._write(_LEAVE)
        if self._before is not None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def draw(self, lines: list[str]) -> None:
        """Show these lines, and nothing else."""
        body = "\x1b[K\r\n".join(lines)
        self._write(f"\x1b[H{body}\x1b[K\x1b[J")

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def read_keys(self, send: trio.MemorySendChannel[str]) -> None:
        """Pass on keys until the terminal is gone."""
        if self._before is None:
            return
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            try:
                data = os.read(self._descriptor, _MOST_BYTES)
            except OSError:
                data = b""
            if not data:
                self.ended_by = signal.SIGHUP
                await send.send("end")
                return
            for key in decoded_keys(data):
                await send.send(key)

    async def obey(self, signals: AsyncIterator[int], send: trio.MemorySendChannel[str]) -> None:
        """Handle signals."""
        async for number in signals:
            if number in _ENDING:
                self.ended_by = signal.Signals(number)
                await send.send("end")
                continue
            if number == signal.SIGTSTP:
                self.leave()
                os.kill(os.getpid(), signal.SIGSTOP)  # goes on here, after SIGCONT
            if number != signal.SIGWINCH:
                self.enter()
            await send.send("resize")


@asynccontextmanager
async def open_terminal() -> AsyncGenerator[Terminal]:
    """Use the terminal of standard output for the length of the block."""
    send, receive = trio.open_memory_channel[str](_MOST_EVENTS)
    terminal = Terminal(receive)
    with receive_signals(*_ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT) as signals:
        async with open_background_nursery() as nursery:
            atexit.register(terminal.leave)  # even if Python ends elsewhere
            terminal.enter()
            try:
                nursery.start_soon(terminal.read_keys, send)
                nursery.start_soon(terminal.obey, signals, send)
                yield terminal
            finally:
                terminal.leave()
                atexit.unregister(terminal.leave)
