"""Whether a run of Trio is in virtual time, as simulations are."""

from __future__ import annotations

import sys

import trio

__all__ = ["is_time_virtual"]


def is_time_virtual() -> bool:
    """Whether the clock of this Trio run jumps from deadline to deadline."""
    testing = sys.modules.get("trio.testing")  # whoever has such a clock has imported it
    if testing is None:
        return False
    clock = trio.lowlevel.current_clock()
    return isinstance(clock, testing.MockClock) and clock.autojump_threshold == 0 and not clock.rate
