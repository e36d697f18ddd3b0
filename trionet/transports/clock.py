"""The clock of a node's protocols: Trio's, except on a simulated network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from trionet.trio_waits import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Clock(Protocol):
        """Gives one node the time, and wakes it."""

        def now(self) -> float:
            """Return the time in seconds; it never decreases."""

        def unix_time(self) -> int:
            """Return the seconds since 1970, by a clock that may go back; 0 where virtual time has no date."""

        def wall_ms(self) -> int:
            """Return the milliseconds since 1970, by a clock that may go back; in virtual time, since it began."""

        def wake_at(self, when: float, action: Callable[[], None]) -> None:
            """Call ``action()`` at `when`, in place of the last action set; ``math.inf`` is never."""


__all__ = ["TrioClock", "time_us"]


def time_us() -> int:
    """Return the microseconds since 1970, by a clock that may go back."""
    return time.time_ns() // 1000


class TrioClock:
    """Fulfils `Clock` by Trio's clock, while it runs."""

    def __init__(self) -> None:
        self._alarm = Alarm()

    def now(self) -> float:
        """Return Trio's time."""
        return trio.current_time()

    def unix_time(self) -> int:
        """Return the seconds since 1970."""
        return int(time.time())

    def wall_ms(self) -> int:
        """Return the milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def wake_at(self, when: float, action: Callable[[], None]) -> None:
        """Call ``action()`` at `when`."""
        self._alarm.set(when, action)

    async def run(self) -> None:
        """Call the actions until cancelled."""
        await self._alarm.run()
