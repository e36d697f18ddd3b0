"""A scheduler: one heap of events, in real time or in virtual time.

Invariants: events run in the order of their times, events of one time in the order of their creation, and none early.
In virtual time, on Trio's ``MockClock(autojump_threshold=0)``, an event runs only when no task can run; tasks whose
deadline has expired run before the events of the same time.

In real time a task sleeps until the next event. In virtual time events run at Trio's I/O wait, until a task can run:
this needs no scheduler pass for each event. No event runs while a thread or a process works for a task (see
`outside`), and Trio polls its sockets every 256 events. If Trio's private state is not available, a task sleeps until
the next event in virtual time, too, and waits until all other tasks are blocked before it runs the event.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import wait_all_tasks_blocked

from trionet.trio_internals import LoopState
from trionet.virtual_time import is_time_virtual

from .outside import Outside, stand_still

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pump"]

_Entry = tuple[float, int, "Callable[..., None]", tuple[Any, ...]]

_MOST_AT_ONCE: Final = 256


class Pump:
    """Calls functions at scheduled times.

    The first event of a Trio run starts `run` as a system task, unless it is running.

    Attributes:
        time: returns the time on Trio's clock; in virtual time, from a copy.
    """

    def __init__(self) -> None:
        self.time: Callable[[], float] = trio.current_time
        self._heap: list[_Entry] = []
        self._count = 0
        self._task: trio.lowlevel.Task | None = None
        self._is_running = False
        self._wakes_at = math.inf  # an earlier event must wake the task
        self._scope = trio.CancelScope()
        self._failure: BaseException | None = None
        self._is_closed = False

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Schedule ``action(*args)`` for `when`, on Trio's clock; it must neither wait nor raise."""
        if self._is_closed:
            return
        self._count = count = self._count + 1
        heappush(self._heap, (when, count, action, args))
        if when < self._wakes_at:
            self._wake()

    def is_due(self, now: float) -> bool:
        """Whether an event is due at `now`."""
        return self.next_due() <= now

    def next_due(self) -> float:
        """Return the time of the next event; ``math.inf`` if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def drop(self, owner: object) -> None:
        """Remove the events that call methods of `owner`."""
        self._heap[:] = [entry for entry in self._heap if getattr(entry[2], "__self__", None) is not owner]
        heapify(self._heap)

    def close(self) -> None:
        """Remove all events, and accept no more."""
        self._is_closed = True
        self._heap.clear()

    def _wake(self) -> None:
        self._wakes_at = -math.inf
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        elif self._is_running:
            self._scope.cancel()
        else:
            self._is_running = True
            trio.lowlevel.spawn_system_task(self.run, name="memory fabric")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run due events until cancelled. Raises the exceptions of the functions."""
        self._is_running = True
        self._wakes_at = -math.inf
        task_status.started()
        is_virtual, loop = is_time_virtual(), LoopState.of_this_run()
        try:
            if is_virtual and loop is not None:
                await self._run_in_loop(loop)
            else:
                await self._run_by_sleeping(is_virtual=is_virtual)
        finally:
            self._is_running = False
            self._wakes_at = math.inf

    # ---- by sleeping

    async def _park(self) -> None:
        """Sleep until there is an event."""
        self._wakes_at = math.inf
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._forget_task)

    def _forget_task(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _run_by_sleeping(self, *, is_virtual: bool) -> None:
        heap = self._heap
        if is_virtual:
            stand_still()
        while True:
            now = trio.current_time()
            last = self._count  # later events wait for the next pass, so that tasks can run
            while heap and heap[0][0] <= now and (is_virtual or heap[0][1] <= last):
                if is_virtual:
                    await wait_all_tasks_blocked()
                    if not heap:
                        break
                _, _, action, args = heappop(heap)
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

    # ---- in Trio's loop

    async def _run_in_loop(self, loop: LoopState) -> None:
        """Sleep, while `run_events` runs the events."""
        self.time = loop.time
        self._failure = None
        idle = _Idle.of_this_run(loop)
        idle.add(self)
        try:
            while self._failure is None:
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._forget_task)
        finally:
            idle.remove(self)
            self.time = trio.current_time
        raise self._failure

    def pass_on(self) -> None:
        """Wake the task of `run`, so that Trio polls for I/O."""
        if self._task is not None:
            self._wake()

    def fail(self, exc: BaseException) -> None:
        """Make `run` raise `exc`."""
        self._failure = exc
        self.pass_on()

    def run_events(self, loop: LoopState, until: float) -> None:
        """Run some events up to a time, in the context of the task of `run`, while no task can run."""
        if self._task is None:  # it is cancelled and about to end
            return
        try:
            loop.call_as(self._task, self._run_events, loop, until)
        except BaseException as exc:  # `run` raises it; Trio would log it and drop the instrument
            self.fail(exc)

    def _run_events(self, loop: LoopState, until: float) -> None:
        heap, pop, runnable, advance = self._heap, heappop, loop.runnable, loop.advance
        now, last = self.time(), _MOST_AT_ONCE
        while heap and not runnable:
            last -= 1
            if last < 0:
                self.pass_on()
                return
            when = heap[0][0]
            if when > now:
                if when > until or not advance(when):
                    return
                now = when
            _, _, action, args = pop(heap)
            action(*args)


class _Idle:
    """Runs the events of all pumps, in the order of time, when no task can run. There is one for each Trio run."""

    def __init__(self, loop: LoopState) -> None:
        self._pumps: list[Pump] = []
        self._loop = loop
        stand_still()
        Outside.of_this_run().on_quiet = self._on_quiet

    @classmethod
    def of_this_run(cls, loop: LoopState) -> _Idle:
        """Return the instance of this Trio run."""
        try:
            return _idle.get()
        except LookupError:
            found = cls(loop)
            _idle.set(found)
            return found

    def add(self, pump: Pump) -> None:
        """Run the events of `pump`, too."""
        self._pumps.append(pump)

    def remove(self, pump: Pump) -> None:
        """Run no more events of `pump`."""
        self._pumps.remove(pump)

    def _on_quiet(self) -> None:
        """Run events: no task can run, and no outside work is in progress."""
        try:
            if self._pumps:
                self._run_events()
        except Exception as exc:  # Trio would log it and drop the instrument
            for pump in self._pumps:
                pump.fail(exc)

    def _run_events(self) -> None:
        loop = self._loop
        while loop.is_idle:
            first, until = self._first()
            due = first.next_due()
            if due == math.inf:
                return  # Trio's clock jumps to the next deadline
            now, deadline = first.time(), loop.next_deadline()
            if deadline <= due or deadline <= now:
                loop.set_time(max(now, deadline))  # faster than Trio's own jump
                return  # sleeping tasks first
            first.run_events(loop, until)

    def _first(self) -> tuple[Pump, float]:
        """Return the pump with the earliest event, and the time of the next event of another pump."""
        if len(self._pumps) == 1:
            return self._pumps[0], math.inf
        first, second, *_ = sorted(self._pumps, key=Pump.next_due)
        return first, second.next_due()


_idle: trio.lowlevel.RunVar[_Idle] = trio.lowlevel.RunVar("pumps")
