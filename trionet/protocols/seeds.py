"""When each seed is contacted.

Invariant: each seed has a back-off of its own, so that a dead one delays no other; and only a few are contacted at a
time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

__all__ = ["MOST_SEEDS", "Seeds"]

MOST_SEEDS: Final = 256
_AT_ONCE: Final = 3
_JITTER: Final = 0.5


class Seeds:
    """Seeds, each with its next time."""

    __slots__ = ("_due", "_first_s", "_jitter", "_last_s", "_random", "_wait_s")

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
        self._due: dict[str, float] = {}
        self._wait_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def clear(self) -> None:
        """Remove all seeds."""
        self._due.clear()
        self._wait_s.clear()

    def add(self, names: Iterable[str], due: float) -> None:
        """Schedule each of `names` at `due`, with a new back-off. Over the bound the oldest are dropped."""
        for name in names:
            self._due.pop(name, None)
            self._due[name] = due
            self._wait_s[name] = self._first_s
        while len(self._due) > MOST_SEEDS:
            oldest = next(iter(self._due))
            del self._due[oldest], self._wait_s[oldest]

    def next_due(self) -> float:
        """Return when the next seed is due; ``math.inf`` for none."""
        return min(self._due.values(), default=math.inf)

    def take_due(self, now: float, is_wanted: Callable[[str], bool] | None = None) -> list[str]:
        """Return the seeds to contact now. The back-off of unwanted ones starts again.

        Those over the bound are due again after the first wait.
        """
        share = (
            1.0 - self._jitter + 2 * self._jitter * self._random.random()
        )  # the same for all, so that they stay in step
        due = [name for name, when in self._due.items() if when <= now]
        wanted = [name for name in due if is_wanted is None or is_wanted(name)]
        asked = self._random.sample(wanted, min(_AT_ONCE, len(wanted)))
        for name in due:
            if name in asked:
                self._due[name] = now + self._wait_s[name] * share
                self._wait_s[name] = min(self._last_s, 2 * self._wait_s[name])
            elif name in wanted:
                self._due[name] = now + self._first_s * share
            else:
                self._wait_s[name] = self._first_s
                self._due[name] = now + self._first_s * share
        return asked
