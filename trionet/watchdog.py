"""Warns of code that blocks the event loop, while it does so, from a thread.

There is one watchdog for each run of Trio, for all nodes in it. Its thread begins with the first call of a user's
service. It rests until a handler begins, or up to a quarter of a second longer; then it pings the loop every quarter of
a second, until no handler runs. A loop that waits is not woken for that: its stack shows that it waits. A ping without
an answer for a second, during which the loop has run one handler or task, is a warning with its place; a second line
says that the loop goes on.

The thread itself may be late. Then either the process was stopped, or had no processor, which is no handler's fault; or
code in C has held Python's lock meanwhile. The processor time of the loop's thread tells these apart. A full garbage
collection holds the lock, too, and is no handler's fault either.

Invariants: no thread in virtual time, none before a user's service was called, none after the last node of the run, and
none in the moment of a fork; at rest the thread sleeps. On Linux a handler that begins wakes no thread: two threads
that take turns with Python's lock take more time than a short call.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakSet

import trio

from .blocking import Blocker, find_blocker, frame_of_blocker
from .log_limits import about, limited_log
from .virtual_time import is_time_virtual

if TYPE_CHECKING:
    from collections.abc import Sized
    from types import FrameType

__all__ = ["BLOCKED_S", "Watchdog"]

_log = limited_log(__name__)

BLOCKED_S: Final = 1.0
"""A loop that doesn't answer for so long is blocked."""

_INTERVAL_S: Final = 0.25
_LOOK_S: Final = 0.1
"""The interval of looks at the loop's stack, while it doesn't answer."""
_LATE_S: Final = 0.5
"""A pause that takes so much longer has another cause than the scheduler's usual lag."""
_WORKED_S: Final = 0.5
"""The processor time of the loop's thread in a late pause, if it has held Python's lock; in any other it is less."""
_JOIN_S: Final = 1.0
_COUNT_BYTES: Final = 8
_ADVICE: Final = (
    "meanwhile this process answers nobody, and after some seconds other nodes take it for failed. Run what blocks by "
    "trio.to_thread.run_sync, or mark a plain function with @trionet.rpc(thread=True)"
)


class Watchdog:
    """Watches the event loop of one run of Trio.

    Attributes:
        is_resting: whether `wake` is to be called when the user's code begins to run.
    """

    def __init__(self) -> None:
        """Watch nothing; see `of_this_run`."""
        self.is_resting: bool = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._watched: list[Sized] = []
        self._thread: _Thread | None = None

    @classmethod
    def off(cls) -> Watchdog:
        """Return one that never watches."""
        return cls()

    @classmethod
    def of_this_run(cls) -> Watchdog:
        """Return the one of this run of Trio, which watches nothing in virtual time."""
        found = _of_run.get(None)
        if found is None:
            found = cls()
            if not is_time_virtual():
                found._token = trio.lowlevel.current_trio_token()
                _all.add(found)
            _of_run.set(found)
        return found

    def add(self, running: Sized) -> None:
        """Watch a node from now on, whose calls with running handlers are `running`."""
        self._watched.append(running)
        if self._thread is None:
            self.is_resting = self._token is not None

    def remove(self, running: Sized) -> None:
        """Watch a node no longer; the thread ends with the last one."""
        self._watched = [each for each in self._watched if each is not running]
        if not self._watched:
            self.end_thread()
            self.is_resting = False

    def wake(self) -> None:
        """Watch the loop, because the user's code begins to run."""
        self.is_resting = False
        if self._thread is None:
            assert self._token is not None
            thread = _Thread(self, self._token)
            try:
                thread.start()
            except RuntimeError as exc:  # the process has too many
                _log.warning("the event loop is not watched: %s", exc)
                return
            self._thread = thread
        else:
            self._thread.ring()

    def is_busy(self) -> bool:
        """Whether handlers are running."""
        return any(map(len, self._watched))

    def end_thread(self) -> None:
        """End the thread; the next `wake` starts another one."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()
            self.is_resting = bool(self._watched)

    def drop_thread(self) -> None:
        """Forget the thread in a forked process, which has none, and whose loop can't go on."""
        self._thread, self.is_resting = None, False


class _Moment:
    """A time, with what tells whether the loop's thread has held Python's lock since."""

    __slots__ = ("at", "collections", "worked_s")

    def __init__(self, clock_id: int | None) -> None:
        self.at = time.monotonic()
        self.worked_s = 0.0 if clock_id is None else time.clock_gettime(clock_id)
        self.collections: int = gc.get_stats()[-1]["collections"]


class _Ping:
    """A question to the loop, with its answer.

    Attributes:
        asked_at: the time from which on the loop owes an answer.
        answer: the moment of the answer.
        is_busy: whether handlers were running then.
    """

    __slots__ = ("answer", "asked_at", "is_busy")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.answer: _Moment | None = None
        self.is_busy = True


class _Rest:
    """The rest of the thread, until a handler begins."""

    def __init__(self) -> None:
        self._bell: SimpleQueue[None] = SimpleQueue()

    def end_soon(self) -> None:
        """End it within the interval."""
        self._bell.put(None)

    def end(self) -> None:
        """End it now."""
        self._bell.put(None)

    def wait(self) -> None:
        """Wait for its end."""
        self._bell.get()


class _TimedRest(_Rest):
    """The same by a timer of the system, which wakes no thread before its time. Source: timerfd_create(2)."""

    _C: ClassVar[Any] = ctypes.PyDLL(None) if sys.platform == "linux" else None  # Python has them from 3.13 on
    _CLOSE_ON_EXEC: Final = 0o2000000
    _END_SOON: Final = struct.pack("4l", 0, 0, 0, int(1e9 * _INTERVAL_S))
    _END: Final = struct.pack("4l", 0, 0, 0, 1)

    def __init__(self) -> None:
        """Raises `OSError` where there is no such timer."""
        self._fd: int = self._C.timerfd_create(time.CLOCK_MONOTONIC, self._CLOSE_ON_EXEC)
        if self._fd < 0:
            raise OSError("no descriptor is free")

    def end_soon(self) -> None:
        """End it after the interval."""
        self._C.timerfd_settime(self._fd, 0, self._END_SOON, None)

    def end(self) -> None:
        """End it now."""
        self._C.timerfd_settime(self._fd, 0, self._END, None)

    def wait(self) -> None:
        """Wait for its end."""
        os.read(self._fd, _COUNT_BYTES)

    def __del__(self) -> None:
        """Close the timer, also that of a thread that has not begun, or was not copied by a fork."""
        if (fd := getattr(self, "_fd", -1)) >= 0:
            os.close(fd)


def _new_rest() -> _Rest:
    try:
        return _TimedRest()
    except (OSError, AttributeError):  # no such function: another system
        return _Rest()


class _Thread(threading.Thread):
    """The thread of a watchdog."""

    def __init__(self, watchdog: Watchdog, token: trio.lowlevel.TrioToken) -> None:
        """Watch the loop of the calling thread."""
        super().__init__(name="trionet watchdog", daemon=True)
        self._watchdog = watchdog
        self._token = token
        self._loop_id = threading.get_ident()
        # macOS doesn't have it.
        self._clock_id = time.pthread_getcpuclockid(self._loop_id) if hasattr(time, "pthread_getcpuclockid") else None
        self._bell: SimpleQueue[None] = SimpleQueue()  # an interrupted `put` leaves no lock behind
        self._rest = _new_rest()
        self._is_ending = False
        self._woken = _Moment(self._clock_id)

    # ---- in the loop

    def ring(self) -> None:
        """End the thread's rest, because a handler begins."""
        self._woken = _Moment(self._clock_id)
        self._rest.end_soon()

    def end(self) -> None:
        """End the thread, and wait for that, but not for a slow log."""
        self._is_ending = True
        self._bell.put(None)
        self._rest.end()
        if self is not threading.current_thread():
            self.join(_JOIN_S)

    def _answer(self, ping: _Ping) -> None:
        ping.is_busy = self._watchdog.is_busy()
        ping.answer = _Moment(self._clock_id)
        self._bell.put(None)

    # ---- in the thread

    def run(self) -> None:
        """Watch until the end of the run, or of its last node."""
        begin, blocker = self._woken, None
        with suppress(trio.RunFinishedError):
            while not self._is_ending:
                blocker = blocker or self._pause(begin)
                if blocker is not None:
                    self._warn(blocker, begin.at)
                self._watchdog.is_resting = True  # first: a handler that begins behind this ping wakes the thread
                if blocker is None and self._is_loop_at_rest():
                    begin = self._woken_again()
                    continue
                ping = _Ping(begin.at if blocker else time.monotonic())
                self._token.run_sync_soon(self._answer, ping)
                reported = self._await(ping, blocker)
                begin = ping.answer or _Moment(self._clock_id)
                blocker = self._holder_since(begin)  # before the next line, which may take long
                if reported is not None and ping.answer is not None:
                    text = "the event loop goes on, after %s has blocked it for at least %.1f s"
                    _log.warning(
                        text,
                        reported.what,
                        ping.answer.at - ping.asked_at,
                        extra=about(reported.what, code=reported.what),
                    )
                if blocker is None:
                    begin = _Moment(self._clock_id) if ping.is_busy else self._woken_again()

    def _is_loop_at_rest(self) -> bool:
        """Whether no handler runs, and no code of the user's: a loop that waits need not be woken to ask it."""
        return not self._watchdog.is_busy() and frame_of_blocker(self._loop_id) is None

    def _woken_again(self) -> _Moment:
        """Rest until a handler begins; return when the next interval begins."""
        begin = _Moment(self._clock_id)
        while self._watchdog.is_resting and not self._is_ending:
            self._rest.wait()
            begin = self._woken
        return begin

    def _pause(self, begin: _Moment) -> Blocker | None:
        """Wait for the interval; return the code that has held Python's lock for long meanwhile."""
        until = begin.at + _INTERVAL_S
        while (left_s := until - time.monotonic()) > 0 and not self._is_ending:
            with suppress(Empty):
                self._bell.get(timeout=left_s)
        return self._holder_since(begin)

    def _await(self, ping: _Ping, reported: Blocker | None) -> Blocker | None:
        """Wait for the loop's answer; return the code that keeps the loop from it for long, which is logged."""
        seen: FrameType | None = None
        seen_at = ping.asked_at
        while not self._has_answered(ping):
            begin = _Moment(self._clock_id)
            with suppress(Empty):
                self._bell.get(timeout=_LOOK_S)
            now = time.monotonic()
            if now - begin.at > _LOOK_S + _LATE_S:
                blocker = self._holder_since(begin)
                if blocker is None:
                    ping.asked_at = now  # the process was stopped, or had no processor
            else:
                found = frame_of_blocker(self._loop_id)
                if seen is not found:
                    seen, seen_at = found, now
                is_long = now - ping.asked_at >= BLOCKED_S and now - seen_at >= BLOCKED_S - 2 * _LOOK_S
                blocker = find_blocker(self._loop_id) if found is not None and is_long and reported is None else None
            if blocker is not None and reported is None:
                reported = blocker
                self._warn(blocker, ping.asked_at)
        return reported

    def _has_answered(self, ping: _Ping) -> bool:
        return ping.answer is not None or self._is_ending

    def _holder_since(self, begin: _Moment) -> Blocker | None:
        """Return the code that has held Python's lock since `begin`; None if this thread was not late, or for else."""
        now = _Moment(self._clock_id)
        has_worked = now.worked_s - begin.worked_s >= _WORKED_S
        has_collected = now.collections != begin.collections
        is_long = now.at - begin.at >= BLOCKED_S
        return find_blocker(self._loop_id) if is_long and has_worked and not has_collected else None

    @staticmethod
    def _warn(blocker: Blocker, since: float) -> None:
        _log.warning(
            "%s has blocked the event loop for %.1f s, at %s: %s",
            blocker.what,
            time.monotonic() - since,
            blocker.place,
            _ADVICE,
            extra=about(blocker.what, code=blocker.what, place=blocker.place),
        )


def _end_threads() -> None:
    """End all threads before a fork: none may hold a lock that its copy would wait for."""
    for watchdog in list(_all) if _all else ():  # a fork server has none, and iterating would touch shared pages
        watchdog.end_thread()


def _drop_threads() -> None:
    for watchdog in list(_all) if _all else ():
        watchdog.drop_thread()
        _all.discard(watchdog)


_all: Final[WeakSet[Watchdog]] = WeakSet()
_of_run: Final[trio.lowlevel.RunVar[Watchdog | None]] = trio.lowlevel.RunVar("trionet watchdog", None)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_end_threads, after_in_child=_drop_threads)
