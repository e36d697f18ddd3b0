"""The standard streams of a command, or of a spawned node.

Invariants: the descriptors 0 to 2 are in use, so that no socket gets them, and ``sys.stdin``, ``sys.stdout`` and
``sys.stderr`` exist. Writing to the latter two never raises: without a reader, or on a full disk, the output is
dropped, and `check_written` reports that.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import Any, Final, TextIO

__all__ = ["OutputLost", "check_written", "claim_stdout", "flush_streams", "is_read", "name_lines", "prepare_streams"]

_NAMES: Final = ("stdin", "stdout", "stderr")
_NOBODY_READS: Final = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.EIO)
"""The errors of a pipe, a socket or a terminal without a reader."""


class OutputLost(Exception):
    """The output of a command could not be written to standard output."""


class _Lasting(io.FileIO):
    """A descriptor whose writes never fail; it drops all output after the first error.

    Attributes:
        failure: the first error; None if there was none.
        prefix: written before each line.
    """

    def __init__(self, descriptor: int, *, closefd: bool) -> None:
        super().__init__(descriptor, "w", closefd=closefd)
        self.failure: OSError | None = None
        self.prefix: bytes = b""
        self._is_amid_line = False

    def write(self, data: Any, /) -> int:
        """Write all of `data`, or drop it; return its size."""
        whole = bytes(data)
        if self.failure is None:
            try:
                self._write_all(self._with_prefix(whole) if self.prefix else whole)
            except OSError as exc:
                self.failure = exc
        return len(whole)

    def _with_prefix(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        begun, self._is_amid_line = self._is_amid_line, bool(lines[-1])
        first = lines[0] if begun or data == b"" else self.prefix + lines[0]
        return b"\n".join([first, *(line and self.prefix + line for line in lines[1:])])

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written: int | None = super().write(rest)
            if written is None:  # another process has made it non-blocking, and it is full
                select.select([], [self], [])
            else:
                rest = rest[written:]


def prepare_streams() -> None:
    """Establish the invariants of this module; replaced streams, as pytest's, stay."""
    for number, name in enumerate(_NAMES):
        is_own = _take_number(number)
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            given = number if is_own else os.open(os.devnull, os.O_RDWR)
            stream = os.fdopen(given, "w" if number else "r", encoding="utf-8", closefd=not is_own)
            setattr(sys, f"__{name}__", stream)
            setattr(sys, name, stream)
        if number and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(stream, _Lasting(stream.fileno(), closefd=False), name))


def claim_stdout() -> TextIO:
    """Return standard output for this caller alone; redirect all other output to standard error.

    Child processes are redirected, too. Call `check_written` after writing.
    """
    prepare_streams()
    if _raw(sys.stdout) is None:  # replaced
        return sys.stdout
    sys.stdout.flush()
    apart = os.dup(1)
    os.dup2(2, 1)
    return _lasting(sys.stdout, _Lasting(apart, closefd=True), "stdout")


def check_written(stream: TextIO) -> None:
    """Flush `stream`.

    Raises:
        OutputLost: some output could not be written; not raised when the reader is gone.
    """
    stream.flush()
    raw = _raw(stream)
    if raw is not None and raw.failure is not None and raw.failure.errno not in _NOBODY_READS:
        raise OutputLost(f"can't write to standard output: {raw.failure.strerror}")


def is_read(stream: TextIO) -> bool:
    """Whether somebody can read what is written to `stream`, as far as can be told."""
    raw = _raw(stream)
    if raw is None:
        return True
    if raw.failure is not None:
        return raw.failure.errno not in _NOBODY_READS
    if not hasattr(select, "poll"):  # not on Windows
        return True
    poll = select.poll()
    poll.register(raw.fileno(), 0)  # only whether the other end is closed
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def name_lines(name: str) -> None:
    """Prefix each printed line of this process with ``[name]``."""
    for stream in (sys.stdout, sys.stderr):
        if (raw := _raw(stream)) is not None:
            stream.flush()
            raw.prefix = f"[{name}] ".encode()


def flush_streams() -> None:
    """Flush standard output and standard error, if possible."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: it has been closed
                stream.flush()


def _take_number(number: int) -> bool:
    """Occupy a standard descriptor; return False when another file has it."""
    try:
        return os.get_inheritable(number)  # files that Python opens are not inheritable
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != number:
            os.dup2(nothing, number)
            os.close(nothing)
        os.set_inheritable(number, True)
        return True


def _lasting(stream: TextIO, raw: _Lasting, name: str) -> TextIO:
    """Return a line-buffered stream over `raw`, with the settings of `stream`."""
    is_unbuffered = isinstance(getattr(stream, "buffer", None), io.RawIOBase)  # python -u
    raw.name = f"<{name}>"
    return io.TextIOWrapper(
        raw if is_unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors in (None, "strict") else stream.errors,
        line_buffering=True,
        write_through=is_unbuffered,
    )


def _raw(stream: TextIO | None) -> _Lasting | None:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw if isinstance(raw, _Lasting) else None
