"""Time stands still for work outside of Trio while time is virtual: threads, subprocesses, sockets.

Invariants: while a thread works for a task (`trio.to_thread`, and so files and look-ups of names), or a task waits for
a subprocess or its output, neither does time pass nor is a message of a fabric delivered. The results of threads reach
their tasks together, in the order in which those tasks were made, so that a seed doesn't depend on how long threads
take. Each wait has a bound, since outside work may itself wait for something that takes virtual time: then time passes
without it.

Where Trio's private state can't be read, its public statistics are polled. Then the order of threads' results follows
from no seed, and a wait for a socket counts as one for a subprocess.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import MockClock, active_thread_count

from trionet.trio_internals import LoopState, is_call_from_unknown_thread, task_of_job

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Outside", "is_time_virtual", "stand_still"]

_WORK_S: Final = 10.0
"""How long time stands still for one thread, or for one wait for a subprocess or its output; real time, as all here."""
_INPUT_S: Final = 0.1
"""How long it stands still for one wait for a socket or a pipe, where nothing may ever arrive."""
_LOOK_S: Final = (0.0001, 0.005)
"""The first and the longest interval between two looks at threads."""
_DESCRIPTORS: Final = "/proc/self/fd"


def is_time_virtual() -> bool:
    """Whether the clock of this Trio run goes from deadline to deadline."""
    clock = trio.lowlevel.current_clock()
    return isinstance(clock, MockClock) and clock.autojump_threshold == 0 and not clock.rate


def stand_still() -> None:
    """Have time stand still for outside work from now on in this Trio run, where its time is virtual."""
    if is_time_virtual():
        trio.lowlevel.add_instrument(Outside.of_this_run())


class Outside(trio.abc.Instrument):
    """Waits for outside work before time passes. There is one for each Trio run.

    Attributes:
        on_quiet: called where no task can run and no outside work is in progress.
    """

    def __init__(self) -> None:
        self.on_quiet: Callable[[], None] | None = None

    @classmethod
    def of_this_run(cls) -> Outside:
        """Return the one of this Trio run."""
        found = _outside.get(None)
        if found is None:
            loop = LoopState.of_this_run()
            found = _Polled() if loop is None else _Seen(loop)
            _outside.set(found)
        return found

    def before_io_wait(self, timeout: float) -> None:
        """Handle that no task can run."""
        del timeout
        if not self.wait() and self.on_quiet is not None:
            self.on_quiet()

    def wait(self) -> bool:
        """Wait until outside work has ended; whether anything has arrived from there.

        Trio passes it on when it next looks at its sockets: until then time must not pass.
        """
        raise NotImplementedError


class _Seen(Outside):
    """Sees the work in Trio's private state."""

    def __init__(self, loop: LoopState) -> None:
        super().__init__()
        self._loop = loop
        self._threads_since: dict[tuple[Any, int], float] = {}
        self._inputs_until: dict[tuple[Any, int], float] = {}

    def wait(self) -> bool:
        loop = self._loop
        if active_thread_count():
            self._wait_for_threads()
        elif self._threads_since:
            self._threads_since.clear()
        if loop.jobs or loop.runnable:
            return True
        if loop.has_inputs:
            return self._wait_for_input()
        if self._inputs_until:
            self._inputs_until.clear()
        return False

    def _wait_for_threads(self) -> None:
        """Wait until each thread has returned or asked Trio for a call, or has worked for too long."""
        loop = self._loop
        hosts, in_system_tasks = loop.working_threads(), loop.calls_from_threads()
        now = time.monotonic()
        self._threads_since = since = {host: self._threads_since.get(host, now) for host in hosts}
        look_s, longest_s = _LOOK_S
        while not loop.is_interrupted:
            jobs, now = list(loop.jobs), time.monotonic()
            told = set(map(task_of_job, jobs))
            working = [host for host in hosts if host[0] not in told and now - since[host] < _WORK_S]
            if len(working) <= in_system_tasks + sum(map(is_call_from_unknown_thread, jobs)):
                break
            time.sleep(look_s)
            look_s = min(look_s * 1.5, longest_s)
        loop.hand_over()

    def _wait_for_input(self) -> bool:
        """Wait until a descriptor is ready, or all tasks that wait for one have waited for too long."""
        loop, known, now = self._loop, self._inputs_until, time.monotonic()
        self._inputs_until = {
            wait: known[wait] if wait in known else now + _longest_s(descriptor)
            for wait, descriptor in loop.waits_for_input()
        }
        until = max(self._inputs_until.values(), default=now)
        poll = select.poll()
        poll.register(loop.poll.fileno(), select.POLLIN)
        while (left_s := until - time.monotonic()) > 0 and not loop.is_interrupted:
            if poll.poll(1 + 1000 * min(left_s, _LOOK_S[1])):
                return True
        return False


class _Polled(Outside):
    """Counts the work in Trio's public statistics, and has Trio look at its sockets again as long as it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: tuple[int, ...] = ()
        self._since = 0.0

    def wait(self) -> bool:
        counts = _counts()
        if counts != self._counts:
            self._counts, self._since = counts, time.monotonic()
        if not any(counts) or time.monotonic() - self._since >= _WORK_S:
            return False
        time.sleep(_LOOK_S[1] / 5)
        # Trio's clock doesn't jump after an I/O wait in which something arrived.
        with suppress(trio.RunFinishedError):
            trio.lowlevel.current_trio_token().run_sync_soon(int, idempotent=True)
        return True


def _counts() -> tuple[int, ...]:
    """Return how many threads work for tasks, and how many tasks wait for descriptors, Trio's own apart."""
    io: Any = trio.lowlevel.current_statistics().io_statistics
    readers, writers = getattr(io, "tasks_waiting_read", 1), getattr(io, "tasks_waiting_write", 0)
    return active_thread_count(), readers - 1, writers


def _longest_s(descriptor: int) -> float:
    """Return for how long time may stand still for a wait for `descriptor`."""
    target = _target(str(descriptor))
    is_of_process = target == "anon_inode:[pidfd]" or (
        # A pipe with one end here: the other one is a subprocess's, or was.
        target.startswith("pipe:") and [*map(_target, os.listdir(_DESCRIPTORS))].count(target) == 1
    )
    return _WORK_S if is_of_process else _INPUT_S


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"{_DESCRIPTORS}/{descriptor}")
    except OSError:  # it has been closed, or this isn't Linux
        return ""


_outside: trio.lowlevel.RunVar[Outside | None] = trio.lowlevel.RunVar("outside", None)
