"""One heap of events, taken in the order of their times, in real time or in virtual time.

Invariants: events are taken in the order of their times, those of one time in the order in which they were made, and
none before its time. In virtual time, on Trio's ``MockClock(autojump_threshold=0)``, one is taken only when no task
can run, as is the way of that clock, and the tasks whose deadline has come run before the events of that time.

In real time a task sleeps until the next event. In virtual time there is no such task to be woken: events are taken
where Trio would wait for I/O because nobody can run, until somebody can. So time goes from event to event without a
pass through Trio's scheduler as long as nobody is woken, and in one pass from one who is woken to the next.
"""

from __future__ import annotations

import functools
import heapq
import math
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pump"]

_Entry = tuple[float, int, "Callable[..., None]", tuple[Any, ...]]


class Pump:
    """Calls functions at their times.

    Attributes:
        time: returns the time on Trio's clock; in virtual time, without asking it.

    Nothing needs to be started: the first event of a Trio run starts the task, as a system task, if nobody has started
    `run`.
    """

    def __init__(self) -> None:
        self.time: Callable[[], float] = trio.current_time
        self._heap: list[_Entry] = []
        self._count = 0
        self._task: trio.lowlevel.Task | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._wakes_at = -math.inf
        self._scope = trio.CancelScope()
        self._failure: Exception | None = None
        self._is_closed = False

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Have ``action(*args)`` called at `when`, on Trio's clock; it must neither wait nor raise."""
        if self._is_closed:
            return
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action, args))
        if when < self._wakes_at:
            self._wake()
        elif self._token is None:
            self._start()

    def is_due(self, now: float) -> bool:
        """Whether there is something to be called at `now` or before."""
        return bool(self._heap) and self._heap[0][0] <= now

    def close(self) -> None:
        """Call nothing more."""
        self._is_closed = True
        self._heap.clear()

    def _start(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        trio.lowlevel.spawn_system_task(self.run, name="memory fabric")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Call what is due, until cancelled. What the functions raise comes out here."""
        self._token = trio.lowlevel.current_trio_token()
        task_status.started()
        clock = trio.lowlevel.current_clock()
        try:
            if isinstance(clock, MockClock) and clock.autojump_threshold == 0 and not clock.rate:
                await self._run_virtually(clock)
            else:
                await self._run_really()
        finally:
            self._token = None

    # ---- in real time

    def _wake(self) -> None:
        self._wakes_at = -math.inf
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        else:
            self._scope.cancel()

    async def _park(self) -> None:
        """Sleep until there is an event."""
        self._wakes_at = math.inf
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._forget_task)

    def _forget_task(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _run_really(self) -> None:
        heap = self._heap
        while True:
            now = trio.current_time()
            last = self._count  # what is made meanwhile waits for the next turn: tasks must get theirs
            while heap and heap[0][0] <= now and heap[0][1] <= last:
                _, _, action, args = heapq.heappop(heap)
                action(*args)
            if not heap:
                await self._park()
            elif heap[0][0] <= now:
                await trio.lowlevel.checkpoint()
            else:
                self._wakes_at = heap[0][0]
                with trio.CancelScope(deadline=self._wakes_at) as self._scope:
                    await trio.sleep_forever()
                self._wakes_at = -math.inf

    # ---- in virtual time

    async def _run_virtually(self, clock: MockClock) -> None:
        """Sleep for good, while Trio calls `_Idle.before_io_wait`."""
        self.time = functools.partial(getattr, clock, "_virtual_base")  # a method would take twice as long
        self._task = trio.lowlevel.current_task()
        idle = _Idle(self._take_or_fail, self._task)
        trio.lowlevel.add_instrument(idle)
        try:
            await trio.lowlevel.wait_task_rescheduled(self._forget_task)
        finally:
            trio.lowlevel.remove_instrument(idle)
            self.time = trio.current_time
        assert self._failure is not None
        raise self._failure

    def _take_or_fail(self, runner: Any) -> None:
        try:
            self._take(runner)
        except Exception as exc:  # noqa: BLE001  it is raised by `run`
            self._failure = exc
            self._wake()

    def _take(self, runner: Any) -> None:
        """Take events until somebody can run, or there are no more."""
        heap, pop = self._heap, heapq.heappop
        clock, runnable, deadlines = runner.clock, runner.runq, runner.deadlines
        now = self.time()
        if deadlines.next_deadline() <= now:
            return  # the sleepers first
        while heap and not runnable:
            when = heap[0][0]
            if when > now:
                if runner.ki_pending:
                    return
                sleepers = deadlines._heap  # noqa: SLF001  the first may have been woken since: then the next is later
                if sleepers and sleepers[0][0] <= when and (deadline := deadlines.next_deadline()) <= when:
                    clock._virtual_base = max(now, deadline)  # noqa: SLF001
                    return  # the sleepers first
                clock._virtual_base = now = when  # noqa: SLF001  what jump() does, but exact
            _, _, action, args = pop(heap)
            action(*args)


class _Idle(trio.abc.Instrument):
    """Has something done, as if by a task, whenever no task can run and nobody waits for just that."""

    def __init__(self, do: Callable[[Any], None], task: trio.lowlevel.Task) -> None:
        self._do = do
        self._task = task
        self._context: Any = trio._core._run.GLOBAL_RUN_CONTEXT  # noqa: SLF001  nothing public is as fast

    def before_io_wait(self, timeout: float) -> None:
        """Trio has run all who can run."""
        context = self._context
        runner = context.runner
        if runner.runq or runner.waiting_for_idle:
            return
        context.task = self._task
        try:
            self._task.context.run(self._do, runner)
        finally:
            del context.task
