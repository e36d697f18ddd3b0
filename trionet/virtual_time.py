"""Whether a run of Trio is in virtual time, as simulations are."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import trio

from trionet.trio_internals import still_time

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_time_virtual", "stopwatch"]


def is_time_virtual() -> bool:
    """Whether the clock of this Trio run jumps from deadline to deadline."""
    testing = sys.modules.get("trio.testing")  # whoever has such a clock has imported it
    if testing is None:
        return False
    clock = trio.lowlevel.current_clock()
    return isinstance(clock, testing.MockClock) and clock.autojump_threshold == 0 and not clock.rate


def stopwatch() -> Callable[[], int]:
    """Return a function that gives the nanoseconds of this Trio run's time, from any origin.

    In real time it is the system's counter, which takes a third of the time of Trio's clock.
    """
    if not is_time_virtual():
        return time.perf_counter_ns
    now = still_time(trio.lowlevel.current_clock())
    return lambda: round(now() * 1e9) + 1  # never 0, which is no time
