"""Hybrid logical clocks: stamps that are close to physical time, and never contradict what their writer had seen.

Invariants: each stamp of a clock exceeds all that the clock made or observed before. It is ahead of the physical time
of all nodes only by what some node's own clock was ahead. Nothing here reads a clock: physical times are arguments.

A stamp is one number, the milliseconds since 1970 shifted left by 16 bits, plus a counter; a counter that overflows
goes on into the milliseconds.

Source: Kulkarni, Demirbas, Madappa, Avva, Leone 2014, "Logical Physical Clocks", section 3.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["MOST_STAMP", "HybridClock", "StampsUsedUp", "milliseconds"]

MOST_STAMP: Final = 1 << 62
"""The highest valid stamp, in the year 4199. A forged entry can have it; then no clock that has observed it makes
another one. Only keys can prevent that."""

_COUNTER_BITS: Final = 16


class StampsUsedUp(Exception):
    """The clock has observed the highest stamp, so there is none that exceeds it."""


def milliseconds(stamp: int) -> int:
    """Return the time in a stamp, in milliseconds since 1970."""
    return stamp >> _COUNTER_BITS


class HybridClock:
    """The hybrid clock of one node.

    Attributes:
        latest: the greatest stamp that it made or observed; 0 for none.
    """

    __slots__ = ("_at", "_ms", "latest")

    def __init__(self) -> None:
        self.latest: int = 0
        self._ms = -math.inf
        self._at = 0.0

    def set_wall(self, wall_ms: int, now: float) -> None:
        """Handle the physical time, in milliseconds since 1970, at `now`; an earlier time has no effect."""
        self._advance(wall_ms, now)

    def observe(self, stamp: int, now: float) -> None:
        """Handle a valid stamp of another node."""
        self.latest = max(self.latest, stamp)
        self._advance(milliseconds(stamp), now)

    def next_stamp(self, wall_ms: int, now: float) -> int:
        """Return a stamp that exceeds all before.

        Args:
            wall_ms: the physical time, in milliseconds since 1970; it may go back.
            now: the time in seconds, on the monotonic clock of the node's protocols.

        Raises:
            StampsUsedUp: it would be over `MOST_STAMP`.
        """
        stamp = max(max(0, wall_ms) << _COUNTER_BITS, self.latest + 1)
        if stamp > MOST_STAMP:
            raise StampsUsedUp
        self._advance(wall_ms, now)
        self.latest = stamp
        return stamp

    def ms(self, now: float) -> float:
        """Return the hybrid time at `now`, in milliseconds since 1970: the latest known one, and the time since.

        It is minus infinity as long as the clock has seen no time.
        """
        return self._ms + 1000.0 * (now - self._at)

    def _advance(self, ms: int, now: float) -> None:
        if ms > self.ms(now):
            self._ms, self._at = float(ms), now
