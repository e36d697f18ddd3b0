"""What goes on outside of Trio while time is virtual: threads, subprocesses, sockets. Time stands still for it.

Invariants: while a thread works for a task (`trio.to_thread`, and so files and look-ups of names), or a task waits for
a subprocess or for what it prints, neither does time pass nor is a message of a fabric taken. What threads return comes
to their tasks together and in the order in which those were made, so that it doesn't matter to a seed how long they
take. All this has a bound, since what works outside may itself wait for something that takes virtual time: then time
goes on without it.

Trio's own structures are read, as nothing public tells which threads work, and what waits for which descriptor.
"""

from __future__ import annotations

import inspect
import itertools
import os
import select
import time
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outside", "stand_still"]

_WORK_S: Final = 10.0
"""For how long time stands still for one thread, or for one wait for a subprocess or by a pipe to it; in real time, as
all here."""
_INPUT_S: Final = 0.1
"""For how long it does for one wait for a socket or a pipe, where nothing may ever come."""
_LOOK_S: Final = (0.0001, 0.005)
"""Between two looks at threads, first and at last."""

_threads: Any = trio._threads  # noqa: SLF001  see above
_DESCRIPTORS: Final = "/proc/self/fd"
_run: Any = trio._core._run  # noqa: SLF001
_TO_THREAD: Final = inspect.unwrap(trio.to_thread.run_sync).__code__
_WAIT: Final = trio.lowlevel.wait_task_rescheduled.__code__


def stand_still() -> None:
    """Have time stand still, from now on in this Trio run, for what works outside; where time is virtual."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, MockClock) and clock.autojump_threshold == 0 and not clock.rate:
        trio.lowlevel.add_instrument(Outside.of_this_run())


class Outside(trio.abc.Instrument):
    """Waits for what works outside, before time passes. There is one for each Trio run."""

    def __init__(self) -> None:
        self._runner: Any = _run.GLOBAL_RUN_CONTEXT.runner
        self._threads_since: dict[Any, float] = {}
        self._inputs_until: dict[Any, float] = {}

    @classmethod
    def of_this_run(cls) -> Outside:
        """Return the one of this Trio run."""
        found = _outside.get(None)
        if found is None:
            found = cls()
            _outside.set(found)
        return found

    def before_io_wait(self, timeout: float) -> None:
        """Trio has run all who can run."""
        del timeout
        self.wait()

    def wait(self) -> bool:
        """Wait until what works outside has come to an end; whether anything has come from there.

        Trio hands on what has come when it next looks at its sockets: until then time must not pass.
        """
        runner = self._runner
        active = _threads._active_threads_local.get(None)  # noqa: SLF001
        if active is not None and active.count:
            self._wait_for_threads()
        elif self._threads_since:
            self._threads_since.clear()
        if runner.entry_queue.queue or runner.runq:
            return True
        if len(_registered(runner)) > 1:
            return self._wait_for_input()
        if self._inputs_until:
            self._inputs_until.clear()
        return False

    # ---- threads

    def _wait_for_threads(self) -> None:
        """Wait until each thread has returned, or has something done by Trio; or until it has worked for too long."""
        runner = self._runner
        queue = runner.entry_queue.queue
        hosts = [(task, task._schedule_points) for task in runner.tasks if _has_working_thread(task)]  # noqa: SLF001
        in_system_tasks = sum(map(_is_call_from_thread, runner.tasks))
        now = time.monotonic()
        self._threads_since = since = {host: self._threads_since.get(host, now) for host in hosts}
        look_s, longest_s = _LOOK_S
        while not runner.ki_pending:
            jobs, now = list(queue), time.monotonic()
            told = set(map(_host_of, jobs))
            working = [host for host in hosts if host[0] not in told and now - since[host] < _WORK_S]
            if len(working) <= in_system_tasks + sum(map(_is_call_of_unknown, jobs)):
                break
            time.sleep(look_s)
            look_s = min(look_s * 1.5, longest_s)
        self._hand_over()

    def _hand_over(self) -> None:
        """Hand on what threads say to their tasks.

        Trio's own task for that would do it in the order in which it came; or, where it runs already, earlier for the
        one thread than for the other.
        """
        wakeup, queue = self._runner.entry_queue.wakeup, self._runner.entry_queue.queue
        wakeup.drain()  # first: what comes from now on wakes that task again
        jobs = [queue.popleft() for _ in range(len(queue))]
        others = [job for job in jobs if _host_of(job) is None]
        for function, args in sorted((job for job in jobs if _host_of(job) is not None), key=_place):
            function(*args)
        queue.extendleft(reversed(others))
        if others or self._runner.entry_queue.idempotent_queue:
            wakeup.wakeup_thread_and_signal_safe()

    # ---- subprocesses, and what else comes in by a descriptor

    def _wait_for_input(self) -> bool:
        """Wait until there is something to be read or written, or all who wait for it have waited for too long."""
        known, now = self._inputs_until, time.monotonic()
        self._inputs_until = {
            wait: known[wait] if wait in known else now + _longest_s(descriptor)
            for wait, descriptor in _waits(self._runner)
        }
        until = max(self._inputs_until.values(), default=now)
        poll = select.poll()
        poll.register(self._runner.io_manager._epoll.fileno(), select.POLLIN)  # noqa: SLF001
        while (left_s := until - time.monotonic()) > 0 and not self._runner.ki_pending:
            if poll.poll(1 + 1000 * min(left_s, _LOOK_S[1])):
                return True
        return False


def _has_working_thread(task: Any) -> bool:
    """Whether a task waits for its thread, and is not doing what that thread has asked for."""
    abort = task._abort_func  # noqa: SLF001
    if abort is not None:
        return getattr(abort, "__qualname__", "") == "to_thread_run_sync.<locals>.abort"
    if task._next_send_fn is not None:  # noqa: SLF001  it is about to run
        return False
    # Cancelled, it has no such function any more, and waits all the same.
    codes = [frame.f_code for frame, _ in task.iter_await_frames()]
    return any(pair == (_TO_THREAD, _WAIT) for pair in itertools.pairwise(codes))


def _is_call_from_thread(task: Any) -> bool:
    """Whether a task does what a thread has asked for that may be abandoned, or that Trio hasn't started."""
    return getattr(task.coro, "cr_code", None) is _threads.Run.run_system.__code__


def _cell(job: Any, name: str) -> Any:
    function = job[0]
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or cells is None or name not in code.co_freevars:
        return None
    return cells[code.co_freevars.index(name)].cell_contents


def _host_of(job: Any) -> Any:
    """Return the task that a thread's message is for; None for any other job."""
    register = _cell(job, "task_register")
    return register[0] if isinstance(register, list) and register else None


def _is_call_of_unknown(job: Any) -> bool:
    """Whether a thread asks for something to be done, and not by a task that waits for it."""
    asking = getattr(job[0], "__self__", None) or _cell(job, "self")
    return _host_of(job) is None and isinstance(asking, _threads.Run | _threads.RunSync)


def _place(job: Any) -> int:
    return int(_host_of(job)._counter)  # noqa: SLF001


def _registered(runner: Any) -> Any:
    """Return who waits for which descriptor; Trio's own wake-up is always there. Empty where that isn't by epoll."""
    io_manager = runner.io_manager
    return io_manager._registered if hasattr(io_manager, "_epoll") else ()  # noqa: SLF001


def _waits(runner: Any) -> Iterator[tuple[Any, int]]:
    """Give the waits for input and output of tasks, and the descriptor of each."""
    own = runner.entry_queue.wakeup.wakeup_sock.fileno()
    for descriptor, waiters in _registered(runner).items():
        for task in (waiters.read_task, waiters.write_task):
            if descriptor != own and task is not None:
                yield (task, task._schedule_points), descriptor  # noqa: SLF001


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
