"""Timers in virtual or real time.

Invariant: a timer runs once, unless cancelled, and not before its time. Timers run in the order of their times, and
those of one time in the order in which they were set.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Timer", "Timers"]


class Timer(msgspec.Struct, eq=False):
    """A call at a time; `action` is None once it has run or is cancelled."""

    when: float
    action: Callable[..., None] | None
    args: tuple[Any, ...]

    def cancel(self) -> None:
        """Cancel the call; no effect once it has run."""
        self.action = None


class Timers:
    """A heap of timers."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0

    def set(self, when: float, action: Callable[..., None], *args: Any) -> Timer:
        """Call ``action(*args)`` at `when`."""
        timer = Timer(when, action, args)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, timer))
        return timer

    def next_deadline(self) -> float:
        """Return the time of the next timer; ``math.inf`` if there is none."""
        heap = self._heap
        while heap:
            first = heap[0]
            if first[2].action is not None:
                return first[0]
            heapq.heappop(heap)
        return math.inf

    def run_due(self, now: float) -> None:
        """Run the timers that are due at `now` and were set before this call."""
        heap = self._heap
        last = self._count
        later: list[tuple[float, int, Timer]] = []
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            timer = entry[2]
            if timer.action is None:
                continue
            if entry[1] > last:
                later.append(entry)
                continue
            action, timer.action = timer.action, None
            action(*timer.args)
        for entry in later:
            heapq.heappush(heap, entry)
