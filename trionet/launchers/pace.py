"""The pace of a launcher's starts on one machine: of many nodes, only some start at once.

A thousand processes that start at once share the processors: each is late in answering, so that the others suspect it,
and its news costs them more. The nodes of a few processors are as soon ready one after the other.

Where processes start faster than the machine can run them, each makes all others later, and their seed above all: this
process, which runs as rarely as any of them. So a start counts for longer while the event loop is late.

Invariant: a start that waits for others, as an `on_start` that waits for nodes started later, does not stop them: each
counts for `LONGEST_S` at most, and while the event loop is late for `LONGEST_LATE_S`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from trionet.identity import NodeAddress
from trionet.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["LATE_S", "LONGEST_LATE_S", "LONGEST_S", "PER_PROCESSOR", "Pace"]

PER_PROCESSOR: Final = 4
"""How many nodes start at once on each processor: a start waits at times, for its seed above all."""

LONGEST_S: Final = 1.0
"""How long a start counts."""

LONGEST_LATE_S: Final = 10.0
"""How long a start counts where the machine has too much to do."""

LATE_S: Final = 0.1
"""A loop that is so late runs on such a machine."""

_LATE_TIMES: Final = 10
"""How much longer a start counts than the loop is late."""


class _Turn(trio.TaskStatus[NodeAddress]):
    """One start, which reports to `task_status`.

    Attributes:
        ended: set when the node has booted, or will not.
    """

    def __init__(self, task_status: trio.TaskStatus[NodeAddress]) -> None:
        self._task_status = task_status
        self.ended: trio.Event = trio.Event()

    def started(self, value: NodeAddress | None = None) -> None:
        assert value is not None
        self.ended.set()
        self._task_status.started(value)


class Pace:
    """Bounds the starts in progress.

    Args:
        nursery: where a task counts each start; it must outlive all starts.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._limiter = trio.CapacityLimiter(PER_PROCESSOR * usable_processors())

    def set_processors(self, count: int) -> None:
        """Take `count` for the number of processors, where the nodes start on another machine."""
        self._limiter.total_tokens = PER_PROCESSOR * count

    @asynccontextmanager
    async def turn(self, task_status: trio.TaskStatus[NodeAddress]) -> AsyncGenerator[trio.TaskStatus[NodeAddress]]:
        """Wait for a turn; yield what to report the boot to, in place of `task_status`. The block may last longer."""
        turn = _Turn(task_status)
        await self._nursery.start(self._count, turn)
        try:
            yield turn
        finally:
            turn.ended.set()

    async def _count(self, turn: _Turn, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._limiter:
            task_status.started()
            begun = trio.current_time()
            until = begun + LONGEST_S
            while not turn.ended.is_set():
                with trio.move_on_at(until):
                    await turn.ended.wait()
                now = trio.current_time()
                if now - until < LATE_S or now - begun >= LONGEST_LATE_S:
                    return
                until = now + _LATE_TIMES * (now - until)
