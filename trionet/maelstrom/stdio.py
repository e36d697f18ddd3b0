r"""Standard input and output as channels of lines, and nothing else of the program's on them.

Invariants: the channels of `open_stdio` are the only way to the real standard output: ``print``, and all other writes
to file descriptor 1, go to standard error as long as the process runs. Nothing that this process shares with others (a
terminal, its parent's end) becomes non-blocking.

Each item of a channel is one or more whole lines. The files may be pipes, sockets, terminals or regular files.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from typing import Final

import trio

from trionet.log_limits import limited_log
from trionet.streams import prepare_streams

__all__ = ["MAX_LINE_BYTES", "StdinLines", "StdoutLines", "open_stdio"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""A longer line is ignored, with a log line."""

_READ_BYTES = 256 * 1024
_ATOMIC_BYTES = 4096  # a writable pipe accepts a write of this size without blocking (POSIX, PIPE_BUF, on Linux)
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.EIO, errno.ESHUTDOWN)

_log = limited_log(__name__)


class StdinLines(trio.abc.ReceiveChannel[bytes]):
    """The lines of a file descriptor.

    It reads only when the descriptor is readable, which therefore need not be non-blocking.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun = bytearray()  # the incomplete line
        self._is_skipping = False
        self._can_wait = not stat.S_ISREG(os.fstat(descriptor).st_mode)

    async def receive(self) -> bytes:
        """Return all lines that are available, at least one.

        Raises:
            trio.EndOfChannel: the input has ended.
        """
        while True:
            data = await self._read()
            if not data:
                return self._last_line()
            end = data.rfind(b"\n") + 1
            if not end:
                self._keep(data)
                continue
            lines = self._complete(data[:end])
            self._keep(data[end:])
            if lines:
                return lines

    async def _read(self) -> bytes:
        if self._can_wait:
            try:
                await trio.lowlevel.wait_readable(self._descriptor)
            except PermissionError:  # epoll does not support the file, such as /dev/null: reading never blocks
                self._can_wait = False
        if not self._can_wait:
            await trio.lowlevel.checkpoint()
        try:
            return os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return await self._read()
        except OSError as exc:
            _log.warning("standard input is unreadable: %s", exc)
            return b""

    def _complete(self, data: bytes) -> bytes:
        if self._is_skipping:
            self._is_skipping = False
            return data[data.find(b"\n") + 1 :]
        if self._begun:
            data = bytes(self._begun) + data
            self._begun.clear()
        return data

    def _keep(self, data: bytes) -> None:
        if self._is_skipping:
            return
        self._begun += data
        if len(self._begun) > MAX_LINE_BYTES:
            _log.error("a line of more than %s bytes is ignored: %r…", f"{MAX_LINE_BYTES:,}", self._begun[:120])
            self._begun.clear()
            self._is_skipping = True

    def _last_line(self) -> bytes:
        if not self._begun:
            raise trio.EndOfChannel
        line = bytes(self._begun)
        self._begun.clear()
        return line

    async def aclose(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        await trio.lowlevel.checkpoint()


class StdoutLines(trio.abc.SendChannel[bytes]):
    """Writes to a file descriptor; waits where it would block, without making shared files non-blocking."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._socket: socket.socket | None = None
        self._step = sys.maxsize
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            self._socket = socket.socket(fileno=descriptor)
        elif not stat.S_ISREG(kind):
            self._descriptor, self._step = _opened_apart(descriptor)

    async def send(self, value: bytes) -> None:
        """Write all of `value`.

        Raises:
            trio.BrokenResourceError: the output has no reader any more.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(value)
        waits = self._step != sys.maxsize
        while rest:
            if waits:
                await self._wait_writable()
            try:
                rest = rest[self._write(rest[: self._step]) :]
            except BlockingIOError:
                await self._wait_writable()
            except OSError as exc:
                if exc.errno in _GONE:
                    raise trio.BrokenResourceError(f"standard output is gone: {exc}") from exc
                raise
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _write(self, data: memoryview) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self._descriptor, data)

    async def _wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._descriptor)
        except PermissionError:  # epoll does not support the file: writing never blocks
            self._step = sys.maxsize
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            if self._socket is not None:
                self._socket.close()
            else:
                os.close(self._descriptor)
            self._descriptor = -1
        await trio.lowlevel.checkpoint()


def _opened_apart(descriptor: int) -> tuple[int, int]:
    """Return a private non-blocking descriptor of the same pipe or terminal, and the size of its writes.

    Where the system has none: the descriptor itself, and a size that never blocks once it is writable.
    """
    try:
        apart = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return descriptor, _ATOMIC_BYTES
    os.close(descriptor)
    return apart, sys.maxsize


def open_stdio() -> tuple[StdinLines, StdoutLines]:
    """Claim standard input and output for the rest of the process; return them as channels of lines.

    Afterwards ``print`` goes to standard error, and ``input`` finds an end of file. A missing stream is ``/dev/null``.
    """
    prepare_streams()
    given_in, given_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.flush()  # earlier output goes to standard error, too
    sys.stdout = sys.stderr
    return StdinLines(given_in), StdoutLines(given_out)
