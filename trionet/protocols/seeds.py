"""The schedule of contacts with seeds.

Invariant: each seed has a back-off of its own, so that a dead one delays no other; and only a few are contacted at a
time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .recent import remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

__all__ = ["MOST_SEEDS", "Seeds"]

MOST_SEEDS: Final = 256
_AT_ONCE: Final = 3
_JITTER: Final = 0.5


class Seeds:
    """Seeds, each with its next time."""

    __slots__ = ("_first_s", "_jitter", "_last_s", "_random", "_waits")

    def __init__(self, random: Random, first_s: float, last_s: float, *, jitter: float = _JITTER) -> None:
        """Start without seeds. Waits double from `first_s` to `last_s`.

        Args:
            random: the node's random numbers.
            first_s: the first wait in seconds.
            last_s: the longest wait in seconds, >= `first_s`.
            jitter: the share by which waits vary in both directions.
        """
        self._random = random
        self._first_s = first_s
        self._last_s = last_s
        self._jitter = jitter
        self._waits: dict[str, tuple[float, float]] = {}  # when each seed is due, and its wait from then on

    def __len__(self) -> int:
        return len(self._waits)

    def clear(self) -> None:
        """Remove all seeds."""
        self._waits.clear()

    def add(self, names: Iterable[str], due: float) -> None:
        """Schedule each of `names` at `due`, with a new back-off. Over the bound the oldest are dropped."""
        for name in names:
            remember(self._waits, name, (due, self._first_s), MOST_SEEDS)

    def next_due(self) -> float:
        """Return when the next seed is due; ``math.inf`` for none."""
        return min((due for due, _ in self._waits.values()), default=math.inf)

    def pick_due(self, now: float, is_wanted: Callable[[str], bool] | None = None) -> list[str]:
        """Return the seeds to contact now. The back-off of unwanted ones starts again.

        Those over the bound are due again after the first wait.
        """
        # One share for all, so that they stay in step.
        share = 1.0 - self._jitter + 2 * self._jitter * self._random.random()
        soon = now + self._first_s * share
        due = {name: wait_s for name, (when, wait_s) in self._waits.items() if when <= now}
        wanted = [name for name in due if is_wanted is None or is_wanted(name)]
        asked = self._random.sample(wanted, min(_AT_ONCE, len(wanted)))
        for name, wait_s in due.items():
            if name in asked:
                self._waits[name] = (now + wait_s * share, min(self._last_s, 2 * wait_s))
            else:
                self._waits[name] = (soon, wait_s if name in wanted else self._first_s)
        return asked
