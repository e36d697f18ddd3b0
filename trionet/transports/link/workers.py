"""The tasks that run the handlers of one link's calls, one after the other.

To start a task and to enter a cancel scope take longer than a short handler, so a task that has run a call runs another
one, inside the same scope. Each call has context variables of its own, and its task has its name.

Invariants: what a call leaves behind in its task reaches no other call, because the task then ends: a scope that is
cancelled or still open, a lock that it holds. At most `MOST_IDLE` tasks wait for a call, and none on a resting link.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.trio_tasks import WOKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet.prepared_call import PreparedCall
    from trionet.protocols.link.calls import IncomingCall
    from trionet.protocols.link.chunks import LongFrame

__all__ = ["MOST_IDLE", "Job", "Worker", "Workers"]

MOST_IDLE: Final = 64
_IDLE: Final = "idle handler"

_current_task = trio.lowlevel.current_task
_wait_task_rescheduled = trio.lowlevel.wait_task_rescheduled
_reschedule = trio.lowlevel.reschedule

Job = tuple["IncomingCall", "PreparedCall", "Awaitable[Any] | None"]
"""A call, what runs it, and the awaitable that its `begin` has returned, if it has begun."""


class Worker:
    """A task that runs calls.

    Attributes:
        scope: the scope around its calls.
        job: the call that it runs; None while it is idle, and at its end.
        answer: the encoded answer of that call; empty before there is one.
        credit_came: None: a call that is no stream needs no credit.
    """

    __slots__ = ("_task", "_workers", "answer", "job", "scope")

    credit_came: None = None

    def __init__(self, workers: Workers, job: Job) -> None:
        self._workers = workers
        self.scope: trio.CancelScope = trio.CancelScope()
        self.job: Job | None = job
        self.answer: bytes | LongFrame = b""
        self._task: trio.lowlevel.Task

    async def next_job(self) -> bool:
        """Wait for the next call; return whether there is one."""
        self.job, self.answer = None, b""
        if not self._workers.may_wait:
            return False
        self._task = task = _current_task()
        task.context, task.name = self._workers.context, _IDLE  # that of the call is not kept
        self._workers.idle.append(self)
        await _wait_task_rescheduled(self._leave)
        return self.job is not None

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._workers.idle.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self, job: Job, name: str) -> None:
        """Have it run a call, whose context variables begin as those of the running code."""
        self.job, task = job, self._task
        task.context, task.name = contextvars.copy_context(), name
        _reschedule(task, WOKEN)

    def end(self) -> None:
        """Have it end; it is idle."""
        _reschedule(self._task, WOKEN)


class Workers:
    """The tasks of one link that run calls.

    Attributes:
        idle: those that wait for a call; the last one is used next.
        context: the context variables of those.
    """

    __slots__ = ("_has_ended", "_start_soon", "context", "idle")

    def __init__(self, start_soon: Callable[..., None]) -> None:
        self._start_soon = start_soon
        self._has_ended = False
        self.idle: list[Worker] = []
        self.context: contextvars.Context = contextvars.copy_context()

    @property
    def may_wait(self) -> bool:
        """Whether one more may wait for a call."""
        return len(self.idle) < MOST_IDLE and not self._has_ended

    def run(self, work: Callable[[Worker], Awaitable[None]], job: Job, name: str) -> Worker:
        """Run a call in a task of this name; return its worker.

        In a new task ``work(worker)`` runs it, and later ones. It is not kept: it may refer to the owner.
        """
        if self.idle:
            worker = self.idle.pop()
            worker.wake(job, name)
        else:
            worker = Worker(self, job)
            self._start_soon(work, worker, name=name)
        return worker

    def rest(self) -> None:
        """Have the idle ones end."""
        idle, self.idle = self.idle, []
        for worker in idle:
            worker.end()

    def close(self) -> None:
        """Have the idle ones end, and the others after their calls."""
        self._has_ended = True
        self.rest()
