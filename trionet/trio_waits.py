"""The input of many sockets, received in the place where a Trio run waits, and alarms that ring there.

To wait for a socket by Trio takes a system call and a step of a task for each input. In a process that has slept, that
is more than half of what a short call costs: each step needs memory that is in no cache. So a socket stays watched
here, and a function receives its input before Trio goes on. For the same reason an alarm is not a deadline of Trio's.

As in `trio_internals`, each private part is looked up at import; where a version of Trio lacks one, a public fallback
takes its place:

=====================  ======================================  ====================================================
part                   private                                 public fallback
=====================  ======================================  ====================================================
`InputsInWait`,        the epoll that Trio waits with, its     `InputsInTask`: one task, which waits for an epoll of
`Alarm`                run queue, deadlines, idle waiters,     its own: slower, and not worth it for few sockets; also
                       clock                                   in guest mode, and with any other clock than Trio's. An
                                                               alarm is a task with a deadline there
=====================  ======================================  ====================================================

Invariants: the function of a socket or of an alarm runs as its task, in the context of that, while the task waits; an
exception of it is raised there. Trio goes on as soon as a task can run, a deadline has changed or is over, or something
comes that Trio waits for. A socket that is no longer watched is not received from. Input that has come by then is
received before an alarm rings.

Source: Trio 0.35, ``_core/_run.py`` and ``_core/_io_epoll.py``. epoll(7): an epoll can be waited for by another one.
"""

from __future__ import annotations

import math
import select
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Alarm", "Inputs", "InputsInTask", "InputsInWait", "Parked"]

_run: Any = getattr(trio._core, "_run", None)  # noqa: SLF001  the purpose of this module, here and below

_FEW: Final = 8
_MOST_AT_ONCE: Final = 64


class Parked:
    """A task that waits while a function is run for it again and again, until that returns true, or raises.

    Args:
        function: is run.
        stop: called when the wait ends: the function is run no more.
    """

    __slots__ = ("_failure", "_is_waiting", "_stop", "function", "task")

    def __init__(self, function: Callable[[], object], stop: Callable[[], object]) -> None:
        self.task: trio.lowlevel.Task = trio.lowlevel.current_task()
        self.function: Callable[[], object] = function
        self._stop = stop
        self._is_waiting = True
        self._failure: BaseException | None = None

    async def wait(self) -> None:
        """Wait, and raise what the function raises, also where it has ended the wait before by other means."""
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        except BaseException as exc:
            if self._failure is not None:
                raise self._failure from exc
            raise
        finally:
            self._failure = None  # its traceback has this frame

    def run(self) -> None:
        """Run the function."""
        try:
            is_over = self.function()
        except BaseException as exc:  # the task raises it
            if self._is_waiting:
                self.end(outcome.Error(exc))
            else:  # the function has cancelled the task, or closed its socket
                self._failure = exc
        else:
            if is_over:
                self.end(outcome.Value(None))

    def end(self, found: outcome.Outcome[None]) -> None:
        """Have `wait` return, or raise, unless it has ended."""
        if self._is_waiting:
            self._end()
            trio.lowlevel.reschedule(self.task, found)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._end()
        return trio.lowlevel.Abort.SUCCEEDED

    def _end(self) -> None:
        self._is_waiting = False
        self._stop()


class Alarm:
    """Calls one action at a time, while it runs.

    Attributes:
        due: when, on Trio's clock; ``math.inf`` is never.
    """

    def __init__(self) -> None:
        self.due: float = math.inf
        self._action: Callable[[], object] | None = None
        self._sleep: trio.CancelScope | None = None
        self._keeper: InputsInWait | None = None

    def set(self, when: float, action: Callable[[], object]) -> None:
        """Call ``action()`` at `when`, in place of what was set before."""
        before, self.due = self.due, when
        self._action = None if when == math.inf else action  # the action's owner has this alarm
        if self._keeper is not None:
            self._keeper.note_due(before, when)
        elif self._sleep is not None:
            self._sleep.deadline = when

    @trio.lowlevel.disable_ki_protection  # as in a task
    def ring(self) -> None:
        """Call the action."""
        action, self.due, self._action = self._action, math.inf, None
        if action is not None:
            action()

    async def run(self) -> None:
        """Call the actions until cancelled."""
        inputs = Inputs.of_this_run()
        if isinstance(inputs, InputsInWait) and inputs.begin():
            self._keeper = inputs
            await inputs.keep(self)
        while True:
            with trio.CancelScope(deadline=self.due) as self._sleep:
                await trio.sleep_forever()
            if self.due <= trio.current_time():
                self.ring()


class Inputs(ABC):
    """Watches sockets of one Trio run.

    Attributes:
        users: how many use it, whether they wait now or not.
        watched: by descriptor, what waits for the input of each socket that is watched.
    """

    def __init__(self) -> None:
        self.users: int = 0
        self.watched: dict[int, Parked] = {}
        self._epoll: select.epoll | None = None

    @staticmethod
    def of_this_run() -> Inputs:
        """Return the one of the caller's Trio run."""
        try:
            return _inputs.get()
        except LookupError:
            _inputs.set(found := InputsInWait() if _can_wait_here() else InputsInTask())
            return found

    @property
    @abstractmethod
    def is_worth_it(self) -> bool:
        """Whether to be watched here is faster than `trio.lowlevel.wait_readable`."""

    @abstractmethod
    def _wait_for(self, epoll: select.epoll) -> None:
        """Have input received from now on when `epoll` has some.

        Raises:
            OSError: that is not possible now, and nothing has changed.
        """

    def begin(self) -> bool:
        """Make it ready to watch sockets; return False if no descriptor is free for that."""
        if self._epoll is None:
            try:
                epoll = select.epoll()
            except OSError:
                return False
            try:
                self._wait_for(epoll)
            except OSError:  # the user has as many watches as the system permits
                epoll.close()
                return False
            self._epoll = epoll
        return True

    def watch(self, fd: int, receive: Callable[[], object]) -> Parked:
        """Call ``receive()`` for this task whenever there is input, from now on. `begin` has made it ready.

        Raises:
            OSError: the user has as many watches as the system permits.
        """
        assert self._epoll is not None
        self._epoll.register(fd, select.EPOLLIN)
        self.watched[fd] = parked = Parked(receive, lambda: self.forget(fd))
        return parked

    async def receive(self, fd: int, receive: Callable[[], object]) -> None:
        """Call ``receive()`` whenever there is input, until it returns true, or raises; raise that. See `watch`."""
        await self.watch(fd, receive).wait()

    def forget(self, fd: int) -> None:
        """Watch a socket no longer."""
        del self.watched[fd]
        if self._epoll is not None:
            with suppress(OSError):  # the socket is closed
                self._epoll.unregister(fd)

    def notify_closing(self, fd: int) -> None:
        """Wake the task that waits for a socket which is about to be closed, with `trio.ClosedResourceError`."""
        if fd in self.watched:
            self.watched[fd].end(outcome.Error(trio.ClosedResourceError("this side has closed the socket")))


# ---- where Trio waits

_HAS_WAIT: Final = (
    hasattr(select, "epoll")
    and hasattr(_run, "GLOBAL_RUN_CONTEXT")
    and all(
        hasattr(getattr(_run, "Runner", None), name)
        for name in ("clock", "deadlines", "io_manager", "is_guest", "runq", "waiting_for_idle")
    )
    and hasattr(_run, "SystemClock")
    and hasattr(getattr(_run, "Deadlines", None), "_heap")
)


def _can_wait_here() -> bool:
    """Whether Trio waits with an epoll, in the loop's own thread, and for time that only passes.

    What is received may set another clock, or let it jump. Trio learns of that once a task has run.
    """
    if not _HAS_WAIT:
        return False
    runner = _run.GLOBAL_RUN_CONTEXT.runner
    manager = runner.io_manager
    return (
        not runner.is_guest
        and type(runner.clock) is _run.SystemClock
        and isinstance(getattr(manager, "_epoll", None), select.epoll)
        and hasattr(manager, "_force_wakeup_fd")
    )


class InputsInWait(Inputs):
    """Stands in for the ``select.epoll`` that Trio waits with."""

    def __init__(self) -> None:
        super().__init__()
        self._context: Any = _run.GLOBAL_RUN_CONTEXT
        self._runner: Any = self._context.runner
        self._runnable: Any = self._runner.runq
        self._deadlines: Any = self._runner.deadlines
        self._trio: Any = None
        self._now: Callable[[], float] = self._runner.clock.current_time
        self._alarms: dict[Alarm, Parked] = {}
        self._first_due: float | None = math.inf  # None: it is not known

    @property
    def is_worth_it(self) -> bool:
        """Whether to be watched here is faster than `trio.lowlevel.wait_readable`."""
        return True

    def _wait_for(self, epoll: select.epoll) -> None:
        manager = self._runner.io_manager
        epoll.register(manager._epoll.fileno(), select.EPOLLIN)  # noqa: SLF001
        self._trio, manager._epoll = manager._epoll, self  # noqa: SLF001

    async def keep(self, alarm: Alarm) -> None:
        """Have an alarm ring, until it raises; raise that. `begin` has made it ready."""
        self._alarms[alarm] = parked = Parked(alarm.ring, lambda: self._alarms.pop(alarm))
        self._first_due = None
        await parked.wait()

    def note_due(self, before: float, due: float) -> None:
        """Handle that an alarm that was due at `before` is due at another time."""
        first = self._first_due
        if first is not None:
            if due <= first:
                self._first_due = due
            elif before == first:
                self._first_due = None

    def _next_due(self) -> float:
        """Return when the first alarm is due: with hundreds of nodes, to look at each takes longer than to wait."""
        found = self._first_due
        if found is None:
            found = self._first_due = min((alarm.due for alarm in self._alarms), default=math.inf)
        return found

    def _run(self, parked: Parked) -> None:
        self._context.task = task = parked.task
        try:
            task.context.run(parked.run)
        finally:
            del self._context.task

    def _ring(self, now: float) -> bool:
        """Ring the alarms that are due; return whether there are some."""
        if self._next_due() > now:
            return False
        self._first_due, due = None, [alarm for alarm in self._alarms if alarm.due <= now]
        for alarm in due:
            parked = self._alarms.get(alarm)
            if parked is not None and alarm.due <= now:  # else another one has ended it, or set it anew
                self._run(parked)
        return bool(due)

    # ---- what Trio calls

    def poll(self, timeout_s: float, most: int) -> list[tuple[int, int]]:
        """Wait for what Trio waits for, as its epoll does; meanwhile, have the input of watched sockets received."""
        watched, all_of_them, now = self.watched, self._epoll, self._now
        if all_of_them is None or not (watched or self._alarms):
            return self._trio.poll(timeout_s, most)  # type: ignore[no-any-return]
        at = now()
        until, heap = at + timeout_s, self._deadlines._heap  # noqa: SLF001
        first = heap[0] if heap else None
        while True:
            wait_s = max(min(until, self._next_due()) - at, 0.0)
            found, is_for_trio = all_of_them.poll(wait_s, _MOST_AT_ONCE), False
            for fd, _ in found:
                if fd in watched:
                    self._run(watched[fd])
                else:  # or a socket that was forgotten just now
                    is_for_trio = True
            at = now()
            has_rung = self._ring(at)
            if is_for_trio and (events := self._trio.poll(0, most)):
                return events  # type: ignore[no-any-return]
            heap = self._deadlines._heap  # noqa: SLF001
            if at >= until or self._runnable or (heap[0] if heap else None) is not first:
                return []
            if (found or has_rung) and self._runner.waiting_for_idle:
                return [(self._runner.io_manager._force_wakeup_fd, select.EPOLLIN)]  # noqa: SLF001  it was not idle

    def register(self, fd: Any, flags: int) -> None:
        """Have Trio wait for a descriptor."""
        self._trio.register(fd, flags)

    def modify(self, fd: int, flags: int) -> None:
        """Have Trio wait for something else of a descriptor."""
        self._trio.modify(fd, flags)

    def unregister(self, fd: int) -> None:
        """Have Trio wait for a descriptor no longer."""
        self._trio.unregister(fd)

    def close(self) -> None:
        """Handle the end of the run."""
        if self._epoll is not None:
            self._epoll.close()
        self._trio.close()
        self._epoll = self._context = self._runner = self._runnable = self._deadlines = None


# ---- by public means


class InputsInTask(Inputs):
    """One task receives, which waits for an epoll of its own."""

    @property
    def is_worth_it(self) -> bool:
        """Whether to be watched here is faster than `trio.lowlevel.wait_readable`."""
        return self.users > _FEW and hasattr(select, "epoll")

    def _wait_for(self, epoll: select.epoll) -> None:
        trio.lowlevel.spawn_system_task(self._run, epoll, name="inputs")

    async def _run(self, epoll: select.epoll) -> None:
        """Have what comes received, until cancelled."""
        with closing(epoll):
            try:
                while True:
                    await trio.lowlevel.wait_readable(epoll.fileno())
                    for fd, _ in epoll.poll(0, _MOST_AT_ONCE):
                        if fd in self.watched:
                            parked = self.watched[fd]
                            parked.task.context.run(parked.run)
            finally:
                self._epoll = None


_inputs: trio.lowlevel.RunVar[Inputs] = trio.lowlevel.RunVar("trionet.inputs")
