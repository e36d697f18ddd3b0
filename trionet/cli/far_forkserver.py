"""The helper on another machine: it forks the nodes of a spawner that has logged in there once, for all of them.

Each node has a line of its own, a socket pair whose bytes travel in the frames of `trionet.launchers.far_frames`. What
nodes print travels in them, too, as far as it has been granted: `trionet.cli.passed_output`.

Invariants: those of `trionet.cli.node_forker`; what is kept for a spawner that doesn't read is bounded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from trionet.launchers.far_frames import (
    MAX_FRAME_BYTES,
    SILENCE_S,
    FrameReader,
    Greeting,
    Hello,
    are_compatible,
    frames,
)
from trionet.launchers.forked import RECORD
from trionet.launchers.lineage import descend_from, lineage
from trionet.processors import usable_processors
from trionet.version import __version__

from .forkserver import prepare
from .node_forker import NodeForker, freeze
from .passed_output import PassedOutput
from .place import enter_place, read_line

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["serve_far"]

_READ_BYTES: Final = 65_536
_MAX_ERROR: Final = 500
"""The most characters of an error, so that a greeting is one frame."""

_MAX_HELD_BYTES: Final = 1_048_576
"""What is kept for a spawner that doesn't read; with more, nothing else is done until it does."""


def serve_far(*, has_entered: bool) -> NoReturn:
    """Serve the requests in standard input until it ends, or nothing has come for `SILENCE_S`.

    Args:
        has_entered: see `enter_place`.
    """
    error = enter_place(has_entered=has_entered)
    hello = msgspec.json.decode(read_line() or os._exit(1), type=Hello)
    control, report_to = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    error = error or _prepare(hello)
    server = _FarForkServer(control, report_to, hello)
    greeting = Greeting(__version__, list(sys.version_info[:2]), error[:_MAX_ERROR], usable_processors())
    server.greet(msgspec.json.encode(greeting))
    freeze()
    server.post_sentinel()
    server.serve()
    sys.exit(0)


def _prepare(hello: Hello) -> str:
    """Prepare this process for its nodes; return why that is not possible, or nothing."""
    if not are_compatible(hello.version, __version__):
        return "versions"
    if not hasattr(os, "fork"):
        return "this platform can't fork"
    prepare(hello.needs, hello.log_level)
    return ""


class _Line:
    """The helper's end of a node's line, and what the node has not read yet."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.unsent = bytearray()


class _FarForkServer(NodeForker):
    def __init__(self, control: int, report_to: int, hello: Hello) -> None:
        super().__init__([])
        self._control = control
        self._report_to = report_to
        self._token = hello.token
        self._reader = FrameReader(self._serve_request)
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._lines: dict[int, _Line] = {}
        self._by_descriptor: dict[int, _Line] = {}
        self._poll = select.poll()
        self._output = PassedOutput(hello.granted_bytes, self._poll) if hello.granted_bytes else None
        self._sentinel: int | None = None
        self._is_wanted = True
        self._heard = time.monotonic()

    def greet(self, greeting: bytes) -> None:
        for frame in frames(b"G", 0, greeting, self._token):
            self._put(frame)
        self._flush()

    def post_sentinel(self) -> None:
        """Fork a process that ends when the connection does, even if this one has been stopped, which it continues.

        All that descends from this process watches it, as it does the others above.
        """
        helper = os.getpid()
        with contextlib.suppress(OSError):  # without one they hear of this process's own end
            self._sentinel = os.fork()
        if self._sentinel == 0:
            self.die_with_parent()
            for descriptor in (self._report_to, *self._output_descriptors()):
                os.close(descriptor)
            poll = select.poll()
            poll.register(self._control, 0)  # only whether its other end is closed
            poll.poll()
            if os.getppid() == helper:
                os.kill(helper, signal.SIGCONT)
            os._exit(0)
        descend_from([] if self._sentinel is None else [self._sentinel])
        descend_from(lineage())

    def serve(self) -> None:
        """Serve requests until the spawner is gone, and end the nodes."""
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self.woken, select.POLLIN)
        try:
            while self._is_wanted:
                self._serve_ready()
                self._flush()
                self._is_wanted &= time.monotonic() - self._heard < SILENCE_S
        finally:
            if self._output is not None:
                self._output.end()
        if self._sentinel is not None:
            os.kill(self._sentinel, signal.SIGKILL)
        self.end_children()

    def _serve_ready(self) -> None:
        for descriptor, events in self._poll.poll(SILENCE_S * 1000):
            if descriptor == self.woken:
                self.reap()
            elif descriptor == self._control:
                self._receive()
            elif (line := self._by_descriptor.get(descriptor)) is not None:
                self._serve_line(line, events)
        self._pass_output()

    def own_descriptors(self) -> Iterable[int]:
        lines = (line.sock.detach() for line in self._lines.values())
        return (self._control, self._report_to, *self._output_descriptors(), *lines)

    def _output_descriptors(self) -> tuple[int, ...]:
        return () if self._output is None else self._output.descriptors

    def send(self, record: bytes) -> None:
        self._put(self._token + record)

    def before_report(self, number: int) -> None:
        """Send what the node has printed and written at last, and close its line."""
        self._pass_output()
        if (line := self._lines.get(number)) is not None:
            while self._pass_on(line):
                pass
            self._close(line)

    def _receive(self) -> None:
        try:
            data = os.read(self._control, _READ_BYTES)
        except OSError:
            data = b""
        self._heard = time.monotonic()
        self._is_wanted &= bool(data)
        self._reader.feed(data)

    def _pass_output(self) -> None:
        """Send what has been printed, as far as it has been granted."""
        while self._output is not None and (data := self._output.read()):
            for frame in frames(b"O", 0, data, self._token):
                self._put(frame)

    def _serve_request(self, kind: bytes, number: int, value: int, data: bytes) -> None:
        line = self._lines.get(number)
        if kind == b"F":
            self._open(number)
        elif kind == b"D" and line is not None:
            line.unsent += data
            self._send_on(line)
        elif kind == b"C" and line is not None:
            self._close(line)
        elif kind == b"K":
            self.kill(number)
        elif kind == b"Q":
            self._is_wanted = False
        elif kind == b"W" and self._output is not None:
            self._output.grant(value)
        elif kind == b"A":
            self.send(RECORD.pack(b"A", 0, 0))

    def _open(self, number: int) -> None:
        """Fork a node with a line of its own."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            self.send(RECORD.pack(b"E", number, exc.errno or errno.EMFILE))
            return
        ours.setblocking(False)
        line = self._lines[number] = self._by_descriptor[ours.fileno()] = _Line(number, ours)
        self.fork(number, theirs.detach(), self._sentinel)
        if number in self.pids:
            self._poll.register(ours, select.POLLIN)
        else:
            self._close(line, is_polled=False)

    def _close(self, line: _Line, *, is_polled: bool = True) -> None:
        del self._lines[line.number], self._by_descriptor[line.sock.fileno()]
        if is_polled:
            with contextlib.suppress(KeyError):  # its end was seen before
                self._poll.unregister(line.sock)
        line.sock.close()

    def _serve_line(self, line: _Line, events: int) -> None:
        if events & select.POLLOUT:
            self._send_on(line)
        if events & ~select.POLLOUT and not self._pass_on(line) and line.number in self._lines:
            self._poll.unregister(line.sock)
            self.send(RECORD.pack(b"D", line.number, 0))

    def _send_on(self, line: _Line) -> None:
        """Send to a node what has come for it, as far as it reads."""
        with contextlib.suppress(BlockingIOError):
            try:
                while line.unsent:
                    del line.unsent[: line.sock.send(line.unsent)]
            except BlockingIOError:
                raise
            except OSError:  # it has ended
                line.unsent.clear()
        with contextlib.suppress(FileNotFoundError, KeyError):
            self._poll.modify(line.sock, select.POLLIN | (select.POLLOUT if line.unsent else 0))

    def _pass_on(self, line: _Line) -> bool:
        """Pass on what a node has written; return whether its line may have more, now or later."""
        try:
            data = line.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return line.number in self.pids
        except OSError:
            data = b""
        for frame in frames(b"D", line.number, data, self._token):
            self._put(frame)
        return bool(data)

    def _put(self, frame: bytes) -> None:
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)
        while self._unsent_bytes > _MAX_HELD_BYTES and self._is_wanted:
            self._flush(wait=True)

    def _flush(self, *, wait: bool = False) -> None:
        """Send what the pipe takes without blocking; `wait` until it takes some, the spawner is gone, or too silent."""
        poll = select.poll()
        poll.register(self._report_to, select.POLLOUT)
        if wait:
            poll.register(self._control, 0)  # only whether its other end is closed
        while self._unsent:
            ready = dict(poll.poll(SILENCE_S * 1000 if wait else 0))
            if not ready.get(self._report_to, 0) & select.POLLOUT:
                if wait:
                    self._is_wanted = False
                break
            whole = bytearray()
            while self._unsent and len(whole) + len(self._unsent[0]) <= MAX_FRAME_BYTES:
                whole += self._unsent.popleft()
            self._unsent_bytes -= len(whole)
            try:
                os.write(self._report_to, whole)
            except OSError:
                self._is_wanted = False
                return
            if wait:  # it has read, so it lives
                self._heard, wait = time.monotonic(), False
        self._want_to_write()

    def _want_to_write(self) -> None:
        if self._unsent:
            self._poll.register(self._report_to, select.POLLOUT)
        else:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._report_to)
