"""The input of many sockets, received in the place where a Trio run waits.

To wait for a socket by Trio takes a system call and a step of a task for each input. In a process that has slept, that
is more than half of what a short call costs: each step needs memory that is in no cache. So a socket stays watched
here, and a function receives its input before Trio goes on.

As in `trio_internals`, each private part is looked up at import; where a version of Trio lacks one, a public fallback
takes its place:

=====================  ======================================  ====================================================
part                   private                                 public fallback
=====================  ======================================  ====================================================
`InputsInWait`         the epoll that Trio waits with, its     `InputsInTask`: one task, which waits for an epoll of
                       run queue, deadlines, idle waiters,     its own: slower, and not worth it for few sockets; also
                       clock                                   in guest mode, and with any other clock than Trio's
=====================  ======================================  ====================================================

Invariants: the function of a socket runs as its task, in the context of that, while the task waits. Trio goes on as
soon as a task can run, a deadline has changed or is over, or something comes that Trio waits for. A socket that is no
longer watched is not received from.

Source: Trio 0.35, ``_core/_run.py`` and ``_core/_io_epoll.py``. epoll(7): an epoll can be waited for by another one.
"""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Inputs", "InputsInTask", "InputsInWait"]

_run: Any = getattr(trio._core, "_run", None)  # noqa: SLF001  the purpose of this module, here and below

_FEW: Final = 8
_MOST_AT_ONCE: Final = 64


class Inputs(ABC):
    """Watches sockets of one Trio run.

    Attributes:
        users: how many use it, whether they wait now or not.
        watched: the sockets that are watched, by descriptor: the task that waits for each, and what receives from it.
    """

    def __init__(self) -> None:
        self.users: int = 0
        self.watched: dict[int, tuple[trio.lowlevel.Task, Callable[[], None]]] = {}
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

    def watch(self, fd: int, task: trio.lowlevel.Task, receive: Callable[[], None]) -> None:
        """Call ``receive()`` for `task`, which waits, whenever there is input, until `forget`. It raises nothing."""
        assert self._epoll is not None
        self._epoll.register(fd, select.EPOLLIN)
        self.watched[fd] = task, receive

    def forget(self, fd: int) -> None:
        """Watch a socket no longer."""
        del self.watched[fd]
        if self._epoll is not None:
            with suppress(OSError):  # the socket is closed
                self._epoll.unregister(fd)

    def notify_closing(self, fd: int) -> None:
        """Wake the task that waits for a socket which is about to be closed, with `trio.ClosedResourceError`."""
        if fd in self.watched:
            task, _ = self.watched[fd]
            self.forget(fd)
            trio.lowlevel.reschedule(task, outcome.Error(trio.ClosedResourceError("this side has closed the socket")))


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
        self._now = perf_counter

    @property
    def is_worth_it(self) -> bool:
        """Whether to be watched here is faster than `trio.lowlevel.wait_readable`."""
        return True

    def _wait_for(self, epoll: select.epoll) -> None:
        manager = self._runner.io_manager
        epoll.register(manager._epoll.fileno(), select.EPOLLIN)  # noqa: SLF001
        self._trio, manager._epoll = manager._epoll, self  # noqa: SLF001

    # ---- what Trio calls

    def poll(self, timeout_s: float, most: int) -> list[tuple[int, int]]:
        """Wait for what Trio waits for, as its epoll does; meanwhile, have the input of watched sockets received."""
        watched, all_of_them, now = self.watched, self._epoll, self._now
        if not watched or all_of_them is None:
            return self._trio.poll(timeout_s, most)  # type: ignore[no-any-return]
        until, heap = now() + timeout_s, self._deadlines._heap  # noqa: SLF001
        first = heap[0] if heap else None
        while found := all_of_them.poll(timeout_s, _MOST_AT_ONCE):
            context, is_for_trio = self._context, False
            for fd, _ in found:
                if fd in watched:
                    context.task, receive = watched[fd]
                    try:
                        context.task.context.run(receive)
                    finally:
                        del context.task
                else:  # or a socket that was forgotten just now
                    is_for_trio = True
            if is_for_trio and (events := self._trio.poll(0, most)):
                return events  # type: ignore[no-any-return]
            heap = self._deadlines._heap  # noqa: SLF001
            if self._runnable or (heap[0] if heap else None) is not first:
                break
            if self._runner.waiting_for_idle:
                return [(self._runner.io_manager._force_wakeup_fd, select.EPOLLIN)]  # noqa: SLF001  it was not idle
            timeout_s = until - now()
            if timeout_s <= 0:
                break
        return []

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
                            task, receive = self.watched[fd]
                            task.context.run(receive)
            finally:
                self._epoll = None


_inputs: trio.lowlevel.RunVar[Inputs] = trio.lowlevel.RunVar("trionet.inputs")
