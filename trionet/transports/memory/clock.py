"""The clock of a node on a memory fabric, which its protocols use.

Invariant: it never goes back. It may be ahead of Trio's clock, and run faster or slower: its rate is the product of all
rates in effect.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .host import Host

__all__ = ["NodeClock"]

_NEVER: Final = math.inf
_ROUNDING_S: Final = 1e-9
"""A margin for rounding errors, so that a wake-up isn't too early."""


class NodeClock:
    """The clock and the timer of one node."""

    def __init__(self, host: Host) -> None:
        self._host: Host = weakref.proxy(host)  # which has this clock
        self._pump = host.pump
        self._own = 0.0
        self._at = 0.0
        self._rate = 1.0
        self._rates: list[float] = []
        self._is_true = True
        self._action: Callable[[], None] | None = None
        self._due = _NEVER

    def now(self) -> float:
        """Return the node's time, in seconds."""
        now = self._pump.time()
        return now if self._is_true else self._own + (now - self._at) * self._rate

    def unix_time(self) -> int:
        """Return 0: virtual time has no date."""
        return 0

    def wall_ms(self) -> int:
        """Return the node's time in milliseconds, with its skew."""
        return int(self.now() * 1000)

    def change(self, *, forward_s: float = 0.0, rate: float = 1.0) -> Callable[[], None]:
        """Set the clock ahead by `forward_s`, and multiply its rate by `rate`; return a function that ends the rate.

        The clock stays ahead after that.

        Raises:
            ValueError: it would go back, or stand still.
        """
        if forward_s < 0 or not rate > 0:
            raise ValueError("a clock does not go back")
        self._rates.append(rate)
        self._go_on(forward_s)

        def end() -> None:
            self._rates.remove(rate)
            self._go_on()

        return end

    def _go_on(self, forward_s: float = 0.0) -> None:
        self._own, self._at = self.now() + forward_s, self._pump.time()
        self._rate = math.prod(self._rates, start=1.0)
        self._is_true = False
        if self._action is not None:
            self.wake_at(self._due, self._action)

    def wake_at(self, when: float, action: Callable[[], None]) -> None:
        """Schedule ``action()`` for `when` on this clock; it replaces the previous one. A held host runs it later."""
        self._due, self._action = when, action
        if when != _NEVER:
            self._pump.at(when if self._is_true else self._true_time(when), self._ring, when)

    def _true_time(self, when: float) -> float:
        """Return about the time on Trio's clock for `when` on this clock."""
        return self._at + (when - self._own) / self._rate + _ROUNDING_S

    def _ring(self, when: float) -> None:
        if when != self._due or self._action is None:
            return
        if not self._is_true and self.now() < when:
            # The clock was changed after the timer was set; or the rounding error of a large time exceeds the margin.
            later = math.nextafter(self._pump.time(), _NEVER)
            self._pump.at(max(later, self._true_time(when)), self._ring, when)
            return
        self._due = _NEVER
        if self._host.is_prompt:
            self._action()
        else:
            self._host.admit(self._action)
