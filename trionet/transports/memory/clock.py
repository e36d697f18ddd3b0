"""The clock of a node on a memory fabric: what its protocols go by.

Invariant: it never goes back. It may be ahead of Trio's clock, and run faster or slower: at the product of all rates
that it is given.
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
"""What the time that is worked out may be too early by: the one who is woken would find that it isn't yet time."""


class NodeClock:
    """Tells one node the time, and wakes it."""

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

    def change(self, *, forward_s: float = 0.0, rate: float = 1.0) -> Callable[[], None]:
        """Set the clock ahead by `forward_s`, and have it run `rate` times as fast from now on; return what ends that.

        Where it ends, the clock stays ahead.

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
        """Have ``action()`` called at `when` on this clock, in place of what was set before; later if it can't run."""
        self._due, self._action = when, action
        if when != _NEVER:
            self._pump.at(when if self._is_true else self._true_time(when), self._ring, when)

    def _true_time(self, when: float) -> float:
        """Return about when it will be `when` on this clock."""
        return self._at + (when - self._own) / self._rate + _ROUNDING_S

    def _ring(self, when: float) -> None:
        if when != self._due or self._action is None:
            return
        if not self._is_true and self.now() < when:
            # It was set before the clock was changed; or the time is so large that more than we allow for was rounded.
            later = math.nextafter(self._pump.time(), _NEVER)
            self._pump.at(max(later, self._true_time(when)), self._ring, when)
            return
        self._due = _NEVER
        if self._host.is_prompt:
            self._action()
        else:
            self._host.admit(self._action)
