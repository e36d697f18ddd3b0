"""The periodic tasks of a node: cancel scopes under ids that name their owner.

Invariants: the first run is after one interval; runs of one task never overlap; runs begin at whole intervals after
the start, without drift, and missed ones are skipped; a failed run ends neither the task nor the node.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import register_type
from trionet.errors import MalformedRequest, TemporarilyUnavailable
from trionet.events import TaskFailed
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log
from trionet.nesting import current_depth
from trionet.prepared_call import is_awaitable
from trionet.trace_headers import NO_TRACE
from trionet.tracing.spans import Spans
from trionet.user_code import pass_endings
from trionet.user_errors import as_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from random import Random

    from trionet.events import Event
    from trionet.router import Router

__all__ = ["MOST_TASKS", "PeriodicTask", "PeriodicTasks", "owner_of"]

_log = limited_log(__name__)

_ID_BITS: Final = 64
_MARK: Final = "@"
_SHORTEST_S: Final = 0.001

MOST_TASKS: Final = 4096
"""The most periodic tasks of a node; a missing `del_` in a loop must not fill the memory."""


class PeriodicTask(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a periodic task.

    Attributes:
        id: the id for `del_`; it ends in the owner's address.
        gid: its group.
        interval_s, jitter_s: its timing, in seconds.
        what: the name of its function or method.
        runs: the number of runs that have begun.
        failures: the number of failed runs.
        is_running: whether a run is in progress.
    """

    id: str
    gid: str
    interval_s: float
    jitter_s: float
    what: str
    runs: int = 0
    failures: int = 0
    is_running: bool = False


register_type(PeriodicTask, name="trionet:PeriodicTask")


def owner_of(task_id: object) -> NodeAddress | None:
    """Return the owner in a task's id; None if it is malformed."""
    if not isinstance(task_id, str):
        return None
    try:
        return NodeAddress.of(task_id.rpartition(_MARK)[2])
    except MalformedRequest:
        return None


class _Entry(msgspec.Struct):
    task: PeriodicTask
    owner: NodeAddress
    spans: Spans | None
    begun_in: bytes
    """The trace context in which it was started; see `trionet.trace_context`."""
    scope: trio.CancelScope = msgspec.field(default_factory=trio.CancelScope)
    ended: trio.Event = msgspec.field(default_factory=trio.Event)

    def update(self, **figures: Any) -> None:
        self.task = msgspec.structs.replace(self.task, **figures)

    def span(self) -> AbstractContextManager[None]:
        """Return the span of one run."""
        spans, task = self.spans, self.task
        if spans is None or spans.provider() is None:
            return nullcontext()
        return spans.run_of_task(task.id, task.gid, task.what, self.begun_in)


class PeriodicTasks:
    """The periodic tasks of one node."""

    def __init__(self, nursery: trio.Nursery, random: Random, publish: Callable[[Event], None], router: Router) -> None:
        """Run the tasks in `nursery`, until closed; in the threads of `router`, where they block."""
        self._nursery = nursery
        self._random = random
        self._publish = publish
        self._router = router
        self._entries: dict[str, _Entry] = {}
        self._is_closed = False

    def close(self) -> None:
        """Start no more tasks."""
        self._is_closed = True

    def start(
        self, owner: NodeAddress, gid: str, interval_s: float, jitter_s: float, what: str, run: Callable[[], Any]
    ) -> str:
        """Start to call ``run()`` periodically, and await its result if possible; return the task's id.

        Raises:
            MalformedRequest: the interval is not a number, or under a millisecond; or the jitter is negative.
            TemporarilyUnavailable: the node is stopping, or has `MOST_TASKS` tasks.
        """
        if not _is_number(interval_s) or interval_s < _SHORTEST_S:
            raise MalformedRequest(f"interval_s is a number of seconds, at least 0.001, not {interval_s!r:.40}")
        if not _is_number(jitter_s) or jitter_s < 0:
            raise MalformedRequest(f"jitter_s is a number of seconds that is not negative, not {jitter_s!r:.40}")
        if self._is_closed:
            raise TemporarilyUnavailable("the node is stopping")
        if len(self._entries) >= MOST_TASKS:
            raise TemporarilyUnavailable(f"a node has at most {MOST_TASKS:,} periodic tasks: delete some")
        task_id = f"{self._random.getrandbits(_ID_BITS):016x}{_MARK}{owner}"
        task = PeriodicTask(id=task_id, gid=gid, interval_s=interval_s, jitter_s=jitter_s, what=what)
        spans = Spans.of(owner)
        begun_in = NO_TRACE if spans is None else spans.current()
        entry = self._entries[task_id] = _Entry(task, owner, spans, begun_in)
        self._nursery.start_soon(self._repeat, entry, run, name=f"periodic task {task_id}")
        return task_id

    def in_thread(self, function: Callable[[], Any], *, abandon_on_cancel: bool) -> Callable[[], Any]:
        """Return a `run` that calls a plain function in a worker thread."""

        def run() -> Any:
            return self._router.threads.run(function, current_depth(), abandon_on_cancel=abandon_on_cancel)

        return run

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task, with a run in progress, and wait for its end; return whether it existed."""
        entry = self._entries.get(task_id)
        if entry is None:
            await trio.lowlevel.checkpoint()
            return False
        entry.scope.cancel()
        await entry.ended.wait()
        return True

    def cancel_group(self, gid: str) -> None:
        """Cancel the tasks of a group."""
        for entry in self._entries.values():
            if entry.task.gid == gid:
                entry.scope.cancel()

    def list(self, gid: str | None = None) -> list[PeriodicTask]:
        """Return the tasks of one group, or all, in the order of their start."""
        return [entry.task for entry in self._entries.values() if gid is None or entry.task.gid == gid]

    async def _repeat(self, entry: _Entry, run: Callable[[], Any]) -> None:
        interval_s, jitter_s = entry.task.interval_s, entry.task.jitter_s
        try:
            with entry.scope:
                due = trio.current_time()
                while True:
                    missed = max(0, math.floor((trio.current_time() - due) / interval_s))
                    due += (missed + 1) * interval_s
                    await trio.sleep_until(due + jitter_s * self._random.random())
                    await self._run_once(entry, run)
        finally:
            del self._entries[entry.task.id]
            entry.ended.set()

    async def _run_once(self, entry: _Entry, run: Callable[[], Any]) -> None:
        entry.update(runs=entry.task.runs + 1, is_running=True)
        try:
            try:
                self._router.watch()
                with entry.span():
                    result = run()
                    if is_awaitable(result):
                        await result
            finally:
                entry.update(is_running=False)
        except BaseException as exc:
            pass_endings(exc)
            entry.update(failures=entry.task.failures + 1)
            task, error = entry.task, str(as_error(exc))
            _log.warning(
                "run %d of the periodic task %s failed: %s",
                task.runs,
                task.id,
                error,
                exc_info=exc,
                extra=about(task.gid, node=entry.owner, gid=task.gid, task_id=task.id),
            )
            self._publish(TaskFailed(node=entry.owner, id=task.id, gid=task.gid, error=error))


def _is_number(value: object) -> bool:
    """Return whether `value` is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int larger than all floats
        return False
