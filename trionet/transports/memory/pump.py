"""One heap of events and one task that takes them, in real time or in virtual time.

Invariants: events are taken in the order of their times, those of one time in the order in which they were made, and
none before its time. In virtual time, on Trio's ``MockClock(autojump_threshold=0)``, one is taken only when no task
can run, as is the way of that clock, and time goes from event to event without a pass through Trio's scheduler as long
as nobody is woken: that makes it ten times faster than a task that sleeps. Where there are several heaps in one Trio
run, none lets time pass another one's next event.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pump"]

_Entry = tuple[float, int, "Callable[..., None]", tuple[Any, ...]]
_heaps: trio.lowlevel.RunVar[list[list[_Entry]]] = trio.lowlevel.RunVar("trionet_heaps")


class Pump:
    """Calls functions at their times.

    Nothing needs to be started: the first event of a Trio run starts the task, as a system task, if nobody has started
    `run`.
    """

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._count = 0
        self._task: trio.lowlevel.Task | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._wakes_at = -math.inf
        self._scope = trio.CancelScope()
        self._now: float | None = None
        self._is_closed = False

    def time(self) -> float:
        """Return the time on Trio's clock. While events are taken in virtual time, that is known without asking it."""
        now = self._now
        return trio.current_time() if now is None else now

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

    def _wake(self) -> None:
        self._wakes_at = -math.inf
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        else:
            self._scope.cancel()

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

    async def _park(self) -> None:
        """Sleep until there is an event."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._wakes_at = math.inf
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

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

    async def _run_virtually(self, clock: MockClock) -> None:
        heaps = _heaps.get([])
        _heaps.set(heaps)
        heaps.append(self._heap)
        try:
            while True:
                await trio.testing.wait_all_tasks_blocked()
                try:
                    self._advance(clock, [heap for heap in heaps if heap is not self._heap])
                finally:
                    self._now = None
                if not self._heap:
                    await self._park()
        finally:
            heaps[:] = [heap for heap in heaps if heap is not self._heap]

    def _advance(self, clock: MockClock, others: list[list[_Entry]]) -> None:
        """Take events until somebody can run, or one of the `others` is next, or there are no more."""
        heap, pop = self._heap, heapq.heappop
        runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner  # noqa: SLF001  nothing public is as fast
        runnable, next_deadline = runner.runq, runner.deadlines.next_deadline
        self._now = now = clock.current_time()
        while heap and not runnable:
            when = heap[0][0]
            if when > now:
                deadline = next_deadline()
                for other in others:
                    if other and other[0][0] < deadline:
                        deadline = max(other[0][0], now)
                self._now = now = when if when < deadline else deadline
                clock._virtual_base = now  # noqa: SLF001  what jump() does, but exact, and in a fifth of the time
                if deadline <= now:
                    return  # the sleepers first
            _, _, action, args = pop(heap)
            action(*args)
