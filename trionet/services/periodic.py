"""Tasks that a node repeats: each one a cancel scope, kept under an id that names its owner.

Invariants: the first run comes after one interval; runs of one task never overlap; the times of runs are whole
intervals from the beginning, so that they don't drift, and those that were missed are left out; a run that fails ends
neither the task nor the node.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.codec import register_type
from trionet.errors import MalformedRequest, TemporarilyUnavailable
from trionet.events import TaskFailed
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log
from trionet.router import is_awaitable
from trionet.user_code import pass_endings
from trionet.user_errors import as_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trionet.events import Event

__all__ = ["MOST_TASKS", "PeriodicTask", "PeriodicTasks", "owner_of"]

_log = limited_log(__name__)

_ID_BITS: Final = 64
_MARK: Final = "@"
_SHORTEST_S: Final = 0.001

MOST_TASKS: Final = 4096
"""How many periodic tasks a node has at a time; a forgotten `del_` in a loop shall not fill the memory."""


class PeriodicTask(msgspec.Struct, frozen=True, kw_only=True):
    """A periodic task, as `tasks` lists it.

    Attributes:
        id: what `del_` takes; it ends in the owner's address.
        gid: the group that it was made in.
        interval_s, jitter_s: its timing, in seconds.
        what: the name of what it runs.
        runs: how many runs have begun.
        failures: how many have failed.
        is_running: whether one is in progress.
    """

    id: str
    gid: str
    interval_s: float
    jitter_s: float
    what: str
    runs: int
    failures: int
    is_running: bool


register_type(PeriodicTask, name="trionet:PeriodicTask")


def owner_of(task_id: object) -> NodeAddress | None:
    """Return the node that a task's id names as its owner; None when it is no such id."""
    if not isinstance(task_id, str):
        return None
    try:
        return NodeAddress.of(task_id.rpartition(_MARK)[2])
    except MalformedRequest:
        return None


class _Entry:
    def __init__(self, owner: NodeAddress, gid: str, interval_s: float, jitter_s: float, what: str) -> None:
        self.owner = owner
        self.gid = gid
        self.interval_s = interval_s
        self.jitter_s = jitter_s
        self.what = what
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.runs = self.failures = 0
        self.is_running = False


class PeriodicTasks:
    """The periodic tasks of one node."""

    def __init__(self, random: Random, publish: Callable[[Event], None]) -> None:
        self._random = random
        self._publish = publish
        self._entries: dict[str, _Entry] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what is started, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self.attach(nursery)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.detach()

    def attach(self, nursery: trio.Nursery) -> None:
        """Run what is started in `nursery`."""
        self._nursery = nursery

    def detach(self) -> None:
        """Start nothing more."""
        self._nursery = None

    def start(
        self, owner: NodeAddress, gid: str, interval_s: float, jitter_s: float, what: str, run: Callable[[], Any]
    ) -> str:
        """Begin to call ``run()``, and to await what it returns if that can be; return the task's id.

        Raises:
            MalformedRequest: the interval is no number of seconds, or under a millisecond; or the jitter is negative.
            TemporarilyUnavailable: the node is stopping, or has `MOST_TASKS` tasks.
        """
        if not _is_number(interval_s) or interval_s < _SHORTEST_S:
            raise MalformedRequest(f"interval_s is a number of seconds, at least 0.001, not {interval_s!r:.40}")
        if not _is_number(jitter_s) or jitter_s < 0:
            raise MalformedRequest(f"jitter_s is a number of seconds that is not negative, not {jitter_s!r:.40}")
        if self._nursery is None:
            raise TemporarilyUnavailable("the node is stopping")
        if len(self._entries) >= MOST_TASKS:
            raise TemporarilyUnavailable(f"a node has at most {MOST_TASKS:,} periodic tasks: delete some")
        task_id = f"{self._random.getrandbits(_ID_BITS):016x}{_MARK}{owner}"
        entry = self._entries[task_id] = _Entry(owner, gid, interval_s, jitter_s, what)
        self._nursery.start_soon(self._repeat, task_id, entry, run, name=f"periodic task {task_id}")
        return task_id

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task, a run in progress included, and wait until it has ended; whether there was one."""
        entry = self._entries.get(task_id)
        if entry is None:
            await trio.lowlevel.checkpoint()
            return False
        entry.scope.cancel()
        await entry.ended.wait()
        return True

    def cancel_group(self, gid: str) -> None:
        """Cancel the tasks that were made in a group."""
        for entry in self._entries.values():
            if entry.gid == gid:
                entry.scope.cancel()

    def list(self, gid: str | None = None) -> list[PeriodicTask]:
        """Return the tasks of one group, or all, in the order in which they were made."""
        return [
            PeriodicTask(
                id=task_id,
                gid=entry.gid,
                interval_s=entry.interval_s,
                jitter_s=entry.jitter_s,
                what=entry.what,
                runs=entry.runs,
                failures=entry.failures,
                is_running=entry.is_running,
            )
            for task_id, entry in self._entries.items()
            if gid is None or entry.gid == gid
        ]

    async def _repeat(self, task_id: str, entry: _Entry, run: Callable[[], Any]) -> None:
        try:
            with entry.scope:
                due = trio.current_time()
                while True:
                    missed = max(0, math.floor((trio.current_time() - due) / entry.interval_s))
                    due += (missed + 1) * entry.interval_s
                    await trio.sleep_until(due + entry.jitter_s * self._random.random())
                    await self._run_once(task_id, entry, run)
        finally:
            del self._entries[task_id]
            entry.ended.set()

    async def _run_once(self, task_id: str, entry: _Entry, run: Callable[[], Any]) -> None:
        entry.runs += 1
        entry.is_running = True
        try:
            try:
                result = run()
                if is_awaitable(result):
                    await result
            finally:
                entry.is_running = False
        except BaseException as exc:
            pass_endings(exc)
            entry.failures += 1
            error = str(as_error(exc))
            _log.warning(
                "run %d of the periodic task %s failed: %s",
                entry.runs,
                task_id,
                error,
                exc_info=exc,
                extra=about(entry.gid),
            )
            self._publish(TaskFailed(node=entry.owner, id=task_id, gid=entry.gid, error=error))


def _is_number(value: object) -> bool:
    """Return whether `value` is a finite number that one can calculate with."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond any float
        return False
