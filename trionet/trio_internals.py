"""Everything that is read or written of Trio's private parts.

Trio has no public way to these, or one that is too slow. Invariant: nothing else in the package but `trio_tasks` and
`trio_waits` uses a private name of Trio's. At import each part is looked up; where a version of Trio lacks one, a
public fallback takes its place:

=====================  ======================================  ====================================================
part                   private                                 public fallback
=====================  ======================================  ====================================================
`time_now`             the clock of a run                      ``trio.current_time``: slower
`still_time`           the time of a ``MockClock``             its method
`time_left_s`          the scopes of a task                    ``trio.current_effective_deadline``: slower
`task_deadline`        the scopes of another task              None: not known
`scope_deadline`       the scopes around a scope               the deadline of that scope alone
`is_scope_cancelled`   the scopes around a scope               whether that scope itself is cancelled
`LoopState`            the run queue, deadlines, entry queue,  None: the simulation waits until all tasks are
                       virtual clock and I/O of a run          blocked, and polls Trio's statistics: slower
`seeded`               the scheduler's random numbers          a warning: the order of tasks follows from no seed
`release`              the `subprocess.Popen` of a process,    False: Python warns at its end of a process that
                       and its descriptor                      still runs, and of an unclosed file
=====================  ======================================  ====================================================

Source: Trio 0.35, ``_core/_run.py``, ``_core/_entry_queue.py``, ``_core/_io_epoll.py``, ``_core/_mock_clock.py``,
``_subprocess.py`` and ``_threads.py``.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import random
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = [
    "LoopState",
    "is_call_from_unknown_thread",
    "is_scope_cancelled",
    "is_waiting_for_thread",
    "release",
    "scope_deadline",
    "seeded",
    "still_time",
    "task_deadline",
    "task_of_job",
    "time_left_s",
    "time_now",
]

_run: Any = getattr(trio._core, "_run", None)  # noqa: SLF001  the purpose of this module, here and below
_threads: Any = getattr(trio, "_threads", None)

_current_task = trio.lowlevel.current_task


def _has(owner: Any, *names: str) -> bool:
    return all(hasattr(owner, name) for name in names)


def _kind(name: str) -> Any:
    return getattr(_run, name, None)


# ---- the time

_HAS_CLOCK: Final = _has(_run, "GLOBAL_RUN_CONTEXT") and _has(_kind("Runner"), "clock")
_context: Any = getattr(_run, "GLOBAL_RUN_CONTEXT", None)


def _time_of_clock() -> float:
    """Return the time on Trio's clock, within Trio: `trio.current_time` is two more calls of functions."""
    return _context.runner.clock.current_time()  # type: ignore[no-any-return]


time_now: Final[Callable[[], float]] = _time_of_clock if _HAS_CLOCK else trio.current_time


def still_time(clock: Any) -> Callable[[], float]:
    """Return a function that gives the time of a `MockClock` that stands still between its jumps."""
    has_base = hasattr(clock, "_virtual_base")
    return functools.partial(getattr, clock, "_virtual_base") if has_base else clock.current_time  # half of a method


# ---- the deadline of a task

_HAS_SCOPES: Final = (
    _has(_kind("Task"), "_cancel_status")
    and _has(_kind("CancelStatus"), "effectively_cancelled", "_scope", "_parent")
    and _has(_kind("CancelScope"), "_deadline", "_shield")
)


def _time_left_of_scopes_s() -> float | None:
    """Return the seconds until the running task's deadline, at least 0; None without a deadline.

    Trio's public function is a method call and a property for each scope around the task, a quarter of the time of a
    call. This reads the private attributes in one loop.
    """
    status: Any = _current_task()._cancel_status  # noqa: SLF001
    if status.effectively_cancelled:
        return 0.0
    deadline = math.inf
    while status is not None:
        scope = status._scope  # noqa: SLF001
        if scope._deadline < deadline:  # noqa: SLF001, PLR1730  min() takes twice as long
            deadline = scope._deadline  # noqa: SLF001
        if scope._shield:  # noqa: SLF001
            break
        status = status._parent  # noqa: SLF001
    return None if deadline == math.inf else max(0.0, deadline - time_now())


def _time_left_by_trio_s() -> float | None:
    """Return the seconds until the running task's deadline, at least 0; None without a deadline."""
    deadline = trio.current_effective_deadline()  # -inf once the caller has been cancelled
    return None if deadline == math.inf else max(0.0, deadline - trio.current_time())


time_left_s: Final[Callable[[], float | None]] = _time_left_of_scopes_s if _HAS_SCOPES else _time_left_by_trio_s


def _deadline_of_scopes(status: Any) -> float:
    """Return the earliest deadline of scopes, cancelled or not, up to the next shield."""
    deadline = math.inf
    while status is not None:
        scope = status._scope  # noqa: SLF001
        deadline = min(deadline, scope._deadline)  # noqa: SLF001
        if scope._shield:  # noqa: SLF001
            break
        status = status._parent  # noqa: SLF001
    return deadline


def task_deadline(task: trio.lowlevel.Task) -> float | None:
    """Return the deadline of another task, on Trio's clock; ``inf`` without one, None where it is not known."""
    return _deadline_of_scopes(task._cancel_status) if _HAS_SCOPES else None  # noqa: SLF001


def scope_deadline(scope: trio.CancelScope) -> float:
    """Return the deadline that holds within an entered scope; ``inf`` without one."""
    status = getattr(scope, "_cancel_status", None)
    return _deadline_of_scopes(status) if _HAS_SCOPES and status is not None else scope.deadline


def is_scope_cancelled(scope: trio.CancelScope) -> bool:
    """Return whether what runs in an entered scope is cancelled, by the scope itself or by one around it."""
    status = getattr(scope, "_cancel_status", None)
    return status.effectively_cancelled if _HAS_SCOPES and status is not None else scope.cancel_called


# ---- a process that outlives this one


def release(process: trio.Process) -> bool:
    """Have Trio and Python hold nothing of a running process, nor warn of it; return whether that is possible.

    Nobody waits for it afterwards: its end is found by its id.
    """
    popen: Any = getattr(process, "_proc", None)
    close: Any = getattr(process, "_close_pidfd", None)
    if popen is None or close is None:
        return False
    close()
    popen.returncode = 0  # otherwise it counts as forgotten
    return True


# ---- the order of tasks


_HAS_TASK_ORDER: Final = _has(_run, "_r", "_ALLOW_DETERMINISTIC_SCHEDULING")


class _Chance:
    """The order in which Trio runs tasks, and the module ``random``.

    Both follow from the last seed until all blocks have ended, in any order, as clusters side by side do.
    """

    def __init__(self) -> None:
        self._blocks = 0
        self._before: tuple[Any, ...] = ()

    @contextmanager
    def seeded(self, tasks_seed: str | int, module_seed: str | int) -> Generator[None]:
        """Seed the order of tasks, and the module ``random``, within the block.

        Hypothesis's plugin for Trio sets the same attributes.
        """
        if not self._blocks:
            self._before = random.getstate(), *self._task_order()
        self._blocks += 1
        random.seed(module_seed)
        try:
            if _HAS_TASK_ORDER:
                _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
                _run._r.seed(tasks_seed)  # noqa: SLF001
            else:
                warnings.warn(f"with Trio {trio.__version__} the order of tasks follows from no seed", stacklevel=3)
            yield
        finally:
            self._blocks -= 1
            if not self._blocks:
                random.setstate(self._before[0])
                if _HAS_TASK_ORDER:
                    _run._ALLOW_DETERMINISTIC_SCHEDULING = self._before[1]  # noqa: SLF001
                    _run._r.setstate(self._before[2])  # noqa: SLF001

    def _task_order(self) -> tuple[Any, ...]:
        return (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()) if _HAS_TASK_ORDER else ()  # noqa: SLF001


seeded: Final = _Chance().seeded


# ---- a run in virtual time

_HAS_LOOP: Final = (
    _has(_run, "GLOBAL_RUN_CONTEXT")
    and _has(_kind("Deadlines"), "_heap", "next_deadline")
    and _has(
        _kind("Runner"), "_locals", "clock", "deadlines", "entry_queue", "io_manager", "ki_pending", "runq", "tasks",
        "waiting_for_idle",
    )
    and _has(_kind("Task"), "_abort_func", "_counter", "_next_send_fn", "_schedule_points")
    and _has(_kind("EntryQueue"), "idempotent_queue", "queue", "wakeup")
    and _has(_threads, "Run", "RunSync", "_active_threads_local")
)  # fmt: skip
_TO_THREAD: Final = inspect.unwrap(trio.to_thread.run_sync).__code__
_WAIT: Final = trio.lowlevel.wait_task_rescheduled.__code__


class LoopState:
    """The state of a Trio run whose clock is a `MockClock`.

    Attributes:
        runnable: the tasks that can run.
        time: returns the virtual time.
        next_deadline: returns the time of the next deadline of a scope; ``math.inf`` if there is none.
        jobs: the calls requested by threads and signal handlers: functions with their arguments.
        poll: the ``select.epoll`` that Trio waits with; None where it uses another means.
    """

    def __init__(self) -> None:
        self._context: Any = _run.GLOBAL_RUN_CONTEXT
        self._runner: Any = self._context.runner
        self._clock: Any = self._runner.clock
        _hasten(self._clock)
        self._run_variables: Any = self._runner._locals  # noqa: SLF001
        self._deadlines: Any = self._runner.deadlines
        self.runnable: Any = self._runner.runq
        self.time: Callable[[], float] = still_time(self._clock)
        self.next_deadline: Callable[[], float] = self._deadlines.next_deadline
        self.jobs: Any = self._runner.entry_queue.queue
        self.poll: Any = getattr(self._runner.io_manager, "_epoll", None)
        self._waiters: Any = self._runner.io_manager._registered if self.poll else {}  # noqa: SLF001

    @classmethod
    def of_this_run(cls) -> LoopState | None:
        """Return the state of the caller's run; None where this version of Trio doesn't show it."""
        return cls() if _HAS_LOOP and _has(trio.lowlevel.current_clock(), "_rate", "_virtual_base") else None

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C was pressed and `KeyboardInterrupt` is yet to be raised."""
        return bool(self._runner.ki_pending)

    @property
    def has_threads(self) -> bool:
        """Whether threads work for tasks: as ``trio.testing.active_thread_count``, in a quarter of its time."""
        found = self._run_variables.get(_threads._active_threads_local)  # noqa: SLF001
        return found is not None and found.count > 0

    @property
    def is_idle(self) -> bool:
        """Whether no task can run, and none waits in ``wait_all_tasks_blocked``."""
        runner = self._runner
        return not (runner.runq or runner.waiting_for_idle or runner.ki_pending)

    def set_time(self, now: float) -> None:
        """Set the virtual time: exactly, where ``MockClock.jump`` would round."""
        self._clock._virtual_base = now  # noqa: SLF001

    def advance(self, when: float) -> bool:
        """Set the virtual time to `when`, unless a deadline or Ctrl-C comes first; whether it has been set."""
        sleepers = self._deadlines._heap  # noqa: SLF001  its first may be there no more: then the next is later
        if self._runner.ki_pending or (sleepers and sleepers[0][0] <= when and self.next_deadline() <= when):
            return False
        self._clock._virtual_base = when  # noqa: SLF001
        return True

    def call_as(self, task: trio.lowlevel.Task, function: Callable[..., None], *args: Any) -> None:
        """Call ``function(*args)`` outside of any task's step as if `task` called it."""
        self._context.task = task
        try:
            task.context.run(function, *args)
        finally:
            del self._context.task

    # ---- threads

    def working_threads(self) -> list[tuple[Any, int]]:
        """Return the tasks that wait for threads that work, each with the number of its step."""
        return [(task, task._schedule_points) for task in self._runner.tasks if _waits_for_thread(task)]  # noqa: SLF001

    def calls_from_threads(self) -> int:
        """Return how many calls for threads are in progress, in tasks of their own.

        Threads that may be abandoned have their calls made there, and so have threads that Trio hasn't started.
        """
        code = _threads.Run.run_system.__code__
        return sum(getattr(task.coro, "cr_code", None) is code for task in self._runner.tasks)

    def hand_over(self) -> None:
        """Pass the messages of threads to their tasks, in the order in which those tasks were made.

        Trio's own task for that would do it in the order of arrival; or, where it runs already, earlier for the one
        thread than for the other.
        """
        queue = self._runner.entry_queue
        queue.wakeup.drain()  # first: later messages wake that task again
        jobs = [queue.queue.popleft() for _ in range(len(queue.queue))]
        others = [job for job in jobs if task_of_job(job) is None]
        own = [job for job in jobs if task_of_job(job) is not None]
        for function, args in sorted(own, key=lambda job: int(task_of_job(job)._counter)):  # noqa: SLF001
            function(*args)
        queue.queue.extendleft(reversed(others))
        if others or queue.idempotent_queue:
            queue.wakeup.wakeup_thread_and_signal_safe()

    # ---- sockets, pipes and subprocesses

    @property
    def has_inputs(self) -> bool:
        """Whether tasks wait for descriptors; False where Trio doesn't use epoll."""
        return len(self._waiters) > 1  # one of them is Trio's own

    def waits_for_input(self) -> Iterator[tuple[tuple[Any, int], int]]:
        """Yield each task that waits for a descriptor, with the number of its step, and that descriptor."""
        own = self._runner.entry_queue.wakeup.wakeup_sock.fileno()
        for descriptor, waiters in self._waiters.items():
            for task in (waiters.read_task, waiters.write_task):
                if descriptor != own and task is not None:
                    yield (task, task._schedule_points), descriptor  # noqa: SLF001


def _hasten(clock: Any) -> None:
    """Have a `MockClock` not read the real time each time that it is asked, while it stands still between its jumps."""
    by_rate = type(clock).current_time

    def current_time() -> float:
        now: float = by_rate(clock) if clock._rate else clock._virtual_base  # noqa: SLF001
        return now

    clock.current_time = current_time


def is_waiting_for_thread(task: trio.lowlevel.Task) -> bool:
    """Whether a task waits for its worker thread."""
    return any(frame.f_code is _TO_THREAD for frame, _ in task.iter_await_frames())


def _waits_for_thread(task: Any) -> bool:
    """Whether a task waits for its thread, and is not running a call for that thread."""
    abort = task._abort_func  # noqa: SLF001
    if abort is not None:
        return getattr(abort, "__qualname__", "") == "to_thread_run_sync.<locals>.abort"
    if task._next_send_fn is not None:  # noqa: SLF001  it is about to run
        return False
    # Cancelled, it has no such function any more, and waits all the same.
    codes = [frame.f_code for frame, _ in task.iter_await_frames()]
    return any(pair == (_TO_THREAD, _WAIT) for pair in itertools.pairwise(codes))


def _cell(job: Any, name: str) -> Any:
    function = job[0]
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or cells is None or name not in code.co_freevars:
        return None
    return cells[code.co_freevars.index(name)].cell_contents


def task_of_job(job: Any) -> Any:
    """Return the task that a thread's message is for; None for any other job."""
    register = _cell(job, "task_register")
    return register[0] if isinstance(register, list) and register else None


def is_call_from_unknown_thread(job: Any) -> bool:
    """Whether a thread requests a call, without a task that waits for that thread."""
    asking = getattr(job[0], "__self__", None) or _cell(job, "self")
    return task_of_job(job) is None and isinstance(asking, _threads.Run | _threads.RunSync)
