"""Stops virtual time during work outside of Trio: threads, subprocesses, sockets.

Invariants: virtual time stops, and no message of a fabric is delivered, while a thread works for a task
(`trio.to_thread`; so for files and name resolution, too), or a task waits for a subprocess or its output. The results
of threads reach their tasks together, in the order in which the tasks were created: the duration of threads does not
affect a seeded run. Each wait is bounded, because outside work may itself wait for virtual time; after that, time
continues.

If Trio's private state is not available, its public statistics are polled. Then the order of threads' results is not
seeded, and a wait for a socket counts as one for a subprocess.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import active_thread_count

from trionet.trio_internals import LoopState, is_call_from_unknown_thread, task_of_job
from trionet.virtual_time import is_time_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Outside", "stand_still"]

_WORK_S: Final = 10.0
"""The longest stop for one thread, or for one wait for a subprocess or its output; real time, as all times here."""
_INPUT_S: Final = 0.1
"""The longest stop for one wait for a socket or a pipe, where input may never arrive."""
_LOOK_S: Final = (0.0001, 0.005)
"""The first and the longest polling interval for threads."""
_DESCRIPTORS: Final = "/proc/self/fd"


def stand_still() -> None:
    """Stop virtual time during outside work, for the rest of this Trio run."""
    if is_time_virtual():
        trio.lowlevel.add_instrument(Outside.of_this_run())


class Outside(trio.abc.Instrument):
    """Waits for outside work before time passes. There is one for each Trio run.

    Attributes:
        on_quiet: called when no task can run and no outside work is in progress.
    """

    def __init__(self) -> None:
        self.on_quiet: Callable[[], None] | None = None

    @classmethod
    def of_this_run(cls) -> Outside:
        """Return the instance of this Trio run."""
        found = _outside.get(None)
        if found is None:
            loop = LoopState.of_this_run()
            found = _Polled() if loop is None else _Seen(loop)
            _outside.set(found)
        return found

    def before_io_wait(self, timeout: float) -> None:
        """Wait for outside work, because no task can run."""
        del timeout
        if not self.wait() and self.on_quiet is not None:
            self.on_quiet()

    def wait(self) -> bool:
        """Wait until outside work has ended; return whether there are results.

        Trio delivers them at its next I/O wait: until then time must not pass.
        """
        raise NotImplementedError


class _Seen(Outside):
    """Detects outside work by Trio's private state."""

    def __init__(self, loop: LoopState) -> None:
        super().__init__()
        self._loop = loop
        self._threads_since: dict[tuple[Any, int], float] = {}
        self._inputs_until: dict[tuple[Any, int], float] = {}

    def wait(self) -> bool:
        loop = self._loop
        if loop.has_threads:
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
        """Wait until each thread has returned or called into Trio, or its time is over."""
        loop = self._loop
        hosts, in_system_tasks = loop.working_threads(), loop.calls_from_threads()
        now = time.monotonic()
        self._threads_since = since = {host: self._threads_since.get(host, now) for host in hosts}
        look_s, longest_s = _LOOK_S
        while not loop.is_interrupted:
            jobs, now = list(loop.jobs), time.monotonic()
            reported = set(map(task_of_job, jobs))
            working = [host for host in hosts if host[0] not in reported and now - since[host] < _WORK_S]
            if len(working) <= in_system_tasks + sum(map(is_call_from_unknown_thread, jobs)):
                break
            time.sleep(look_s)
            look_s = min(look_s * 1.5, longest_s)
        loop.hand_over()

    def _wait_for_input(self) -> bool:
        """Wait until a descriptor is ready, or the time of all waiting tasks is over."""
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
    """Detects outside work by Trio's public statistics, and makes Trio poll its sockets meanwhile."""

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
    """Return the numbers of working threads and of tasks that wait for descriptors, without Trio's own."""
    io: Any = trio.lowlevel.current_statistics().io_statistics
    readers, writers = getattr(io, "tasks_waiting_read", 1), getattr(io, "tasks_waiting_write", 0)
    return active_thread_count(), readers - 1, writers


def _longest_s(descriptor: int) -> float:
    """Return the longest stop for a wait for `descriptor`."""
    target = _target(str(descriptor))
    is_of_process = target == "anon_inode:[pidfd]" or (
        # A pipe with one end here: the other end belongs to a subprocess.
        target.startswith("pipe:") and [*map(_target, os.listdir(_DESCRIPTORS))].count(target) == 1
    )
    return _WORK_S if is_of_process else _INPUT_S


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"{_DESCRIPTORS}/{descriptor}")
    except OSError:  # it has been closed, or this isn't Linux
        return ""


_outside: trio.lowlevel.RunVar[Outside | None] = trio.lowlevel.RunVar("outside", None)
