"""Limits of the log lines that peers can cause: 6 in a minute for each reason and peer, and 60 for each reason.

A peer that sends invalid data 700 times a second must not fill the disk of every member, nor hide other lines. Omitted
lines are counted, and the count is logged with the next line of its reason, or on a line of its own: after a minute,
and when the run of Trio ends. Each record is one short line, whatever text a peer put into it.

A reason is a place in the code that logs. Where one place logs several kinds of lines, a peer's lines of each kind are
counted separately, so that the first kind does not hide the second. `LineLimits` decides, without clock and logging.
`limited_log` returns a logger that uses it with the time of the running task, and so in virtual time, too. Lines of the
level DEBUG are not limited.

Invariants: at most 60 lines of a reason are remembered, so that memory does not grow with the number of peers; there
are as many reasons as places in the code.
"""

from __future__ import annotations

import functools
import logging
import math
import re
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from .user_code import attempt

if TYPE_CHECKING:
    import socket
    from collections.abc import Hashable

__all__ = [
    "LINES_PER_PEER",
    "LINES_PER_REASON",
    "WINDOW_S",
    "LineLimits",
    "about",
    "limited_log",
    "log_often",
    "peer_ip",
]

LINES_PER_PEER: Final = 6
LINES_PER_REASON: Final = 60
WINDOW_S: Final = 60.0

_MAX_CHARS: Final = 2_000
_MAX_TRACEBACK_CHARS: Final = 16_000
_MAX_PEER_CHARS: Final = 100
_MAX_KIND_CHARS: Final = 60
_VARYING: Final = re.compile(r"[0-9]+|['\"`].*", re.DOTALL)
_TEMPLATE_CHARS: Final = 30
_NUMBERS: Final = (bool, int, float)
_NOBODY: Final = "\0"
"""The peer of a line with a count alone."""

# Line ends, and control characters of terminals.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_EXCEPTIONS: Final = logging.Formatter()


class LineLimits:
    """Decides which lines are written."""

    def __init__(self) -> None:
        self._reasons: dict[Hashable, _Reason] = {}

    def admit(self, reason: Hashable, peer: Hashable, now: float) -> int | None:
        """Decide whether a line is written.

        Args:
            reason: its reason; there must be a bounded number of these.
            peer: the peer that caused it, or its subject; with its kind, if there are several of one reason.
            now: in seconds.

        Returns:
            None if the line is omitted. Else how many were omitted since the last one that was written.
        """
        known = self._reasons.setdefault(reason, _Reason())
        if known.omits(peer, now):
            return None
        known.lines.append((now, peer))
        return known.reset()

    def omits(self, reason: Hashable, peer: Hashable, now: float) -> bool:
        """Return whether a line is omitted, and count it then; as `admit`, but for a line that is written."""
        known = self._reasons.get(reason)
        return known is not None and known.omits(peer, now)

    def due_at(self) -> float:
        """Return when to call `counts`; infinity if nothing was omitted."""
        return min((known.due_at() for known in self._reasons.values()), default=math.inf)

    def counts(self, now: float = math.inf) -> list[tuple[Hashable, int]]:
        """Return how many lines of each reason were omitted, and are to be logged now; at the end, for all reasons."""
        found = []
        for reason, known in self._reasons.items():
            if known.left_out and known.due_at() <= now:
                known.lines.append((now, _NOBODY))
                found.append((reason, known.reset()))
        return found


class _Reason:
    def __init__(self) -> None:
        self.lines: deque[tuple[float, Hashable]] = deque(maxlen=LINES_PER_REASON)
        self.left_out = 0
        self.left_out_since = math.inf

    def omits(self, peer: Hashable, now: float) -> bool:
        """Return whether a line about `peer` is omitted, and count it then."""
        self.forget(now)
        if len(self.lines) < LINES_PER_REASON and self.count(peer) < LINES_PER_PEER:
            return False
        self.left_out += 1
        self.left_out_since = min(self.left_out_since, now)
        return True

    def forget(self, now: float) -> None:
        """Remove lines that are older than a minute, and those of another clock, which are later than now."""
        while self.lines and not now - WINDOW_S < self.lines[0][0] <= now:
            self.lines.popleft()

    def count(self, peer: Hashable) -> int:
        return sum(other == peer for _, other in self.lines)

    def reset(self) -> int:
        """Return the count of omitted lines, and set it to 0."""
        count, self.left_out, self.left_out_since = self.left_out, 0, math.inf
        return count

    def due_at(self) -> float:
        """Return when there is room for a line with a count, after a minute without another line."""
        if not self.left_out:
            return math.inf
        is_full = len(self.lines) >= LINES_PER_REASON
        return max(self.left_out_since, self.lines[0][0] if is_full else -math.inf) + WINDOW_S


def limited_log(name: str) -> logging.Logger:
    """Return the logger `name`, whose lines from INFO up are limited.

    A line names its peer: ``log.warning("...", extra=about(peer))``. Lines without a peer count as those of one.
    """
    logger = logging.getLogger(name)
    if _LIMIT not in logger.filters:
        logger.addFilter(_LIMIT)
    return logger


def about(subject: object, kind: str = "", **fields: object) -> dict[str, object]:
    """Return the `extra` of a line of a limited log.

    Args:
        subject: the peer that caused the line, or what it is about, which then is one of the `fields`; empty for none.
        kind: its kind, where one place logs several: the beginning of a text counts, up to the first quotation, and
            without numbers.
        **fields: what the line states, by the names in `docs/logging.md`; texts, and numbers.
    """
    whom, what = _subject(str(subject), kind)
    stated = {name: value if type(value) in _NUMBERS else str(value) for name, value in fields.items()}
    if whom and str(subject) not in stated.values():
        stated["peer"] = whom
    return {"subject": whom, "kind": what, **stated}


@functools.lru_cache(maxsize=256)
def _subject(peer: str, kind: str) -> tuple[str, str]:
    return peer[:_MAX_PEER_CHARS], _VARYING.sub("", kind)[:_MAX_KIND_CHARS]


def log_often(log: logging.Logger, level: int, text: str, *args: object, peer: str, kind: str) -> None:
    """Write a line of a limited log, in a place that a flood reaches: there an omitted line must cost next to nothing.

    Args:
        log: from `limited_log`.
        level: from INFO up.
        text: the line, with places for `args`.
        args: they are in the line.
        peer: see `about`.
        kind: likewise.
    """
    if not log.isEnabledFor(level):
        return
    frame = sys._getframe(1)  # noqa: SLF001  documented, and what logging itself uses
    lines = _lines_of_run.get(None)
    reason = (frame.f_code.co_filename, frame.f_lineno)
    if lines is None or not lines.omits(reason, _subject(peer, kind), trio.current_time()):
        log.log(level, text, *args, extra=about(peer, kind), stacklevel=2)


def peer_ip(sock: socket.socket | trio.socket.SocketType) -> str:
    """Return the IP address of the other side. Lines are counted by it, because ports and claimed names may change."""
    try:
        return str(sock.getpeername()[0])
    except (OSError, IndexError):  # it has gone
        return ""


class _Lines:
    """The lines of one run of Trio, or of code outside of any."""

    def __init__(self) -> None:
        self._limits = LineLimits()
        self._latest: dict[Hashable, tuple[tuple[str, int, str, int], str]] = {}
        self._is_counting = False

    def admit(self, record: logging.LogRecord, now: float) -> bool:
        """Return whether `record` is to be written; if so, make it one short line."""
        reason = (record.pathname, record.lineno)
        left_out = self._limits.admit(reason, (getattr(record, "subject", ""), getattr(record, "kind", "")), now)
        if left_out is None:
            # Not the record itself, which refers to the frames of its exception.
            site = record.name, record.levelno, record.pathname, record.lineno
            self._latest[reason] = site, str(record.msg)[:_TEMPLATE_CHARS]
            return False
        _make_short(record, left_out)
        return True

    def omits(self, reason: Hashable, subject: tuple[str, str], now: float) -> bool:
        """Return whether a line is omitted, and count it then, if one of its place has been omitted before."""
        if reason not in self._latest or not self._limits.omits(reason, subject, now):
            return False
        self.log_counts_later()
        return True

    def log_counts_later(self) -> None:
        """Start a task of Trio that logs the counts."""
        if not self._is_counting:
            self._is_counting = True
            # A run of Trio that is about to end starts no further task, and the count is lost.
            with suppress(RuntimeError):
                trio.lowlevel.spawn_system_task(self._run, name="counts of log lines left out")

    async def _run(self) -> None:
        try:
            while (due_at := self._limits.due_at()) < math.inf:
                await trio.sleep_until(due_at)
                self._log_counts(trio.current_time())
        except trio.Cancelled:  # the run ends
            self._log_counts(math.inf)
            raise
        finally:
            self._is_counting = False

    def _log_counts(self, now: float) -> None:
        for reason, count in self._limits.counts(now):
            site, beginning = self._latest[reason]
            logger = logging.getLogger(site[0])
            text = "%d lines were left out, like those that begin '%s…'"
            record = logger.makeRecord(*site, text, (count, beginning), None)
            with suppress(Exception):  # of a handler of the user's: it would end the run of Trio
                logger.callHandlers(record)


def _make_short(record: logging.LogRecord, left_out: int) -> None:
    if record.exc_info:
        failure = f"{type(record.exc_info[1]).__qualname__} (its description could not be made)"
        trace = attempt(_EXCEPTIONS.formatException, record.exc_info, default=failure)
        record.exc_text = _shortened(trace, _MAX_TRACEBACK_CHARS)
    message = record.getMessage()
    text = _shortened(message, _MAX_CHARS).translate(_CONTROLS)
    if left_out:
        text += f" ({left_out} like this were left out before)"
    if text != message:
        record.msg, record.args = text, ()


def _shortened(text: str, longest: int) -> str:
    """Return `text`, without its middle if it is too long."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


class _Limit(logging.Filter):
    """Passes the lines of a logger within the limits."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        try:
            now = trio.current_time()
        except RuntimeError:  # outside of Trio
            return _lines_of_process.admit(record, time.monotonic())
        lines = _lines_of_run.get(None)
        if lines is None:
            lines = _Lines()
            _lines_of_run.set(lines)
        is_admitted = lines.admit(record, now)
        if not is_admitted:
            lines.log_counts_later()
        return is_admitted


_LIMIT: Final = _Limit()
_lines_of_process: Final = _Lines()
_lines_of_run: Final[trio.lowlevel.RunVar[_Lines | None]] = trio.lowlevel.RunVar("trionet log lines", None)
