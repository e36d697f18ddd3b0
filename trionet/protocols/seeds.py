"""When each seed is to be asked.

Invariant: each seed has a back-off of its own, so that one that is dead never makes the wait for another longer; and at
most a few are asked at a time.
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
    """Seeds, each with the time at which it is due."""

    __slots__ = ("_due", "_first_s", "_jitter", "_last_s", "_random", "_wait_s")

    def __init__(self, random: Random, first_s: float, last_s: float, *, jitter: float = _JITTER) -> None:
        """Begin with none; each is asked again after `first_s`, then twice that, up to `last_s`, less or more `jitter`.

        Args:
            random: the node's random numbers.
            first_s: in seconds.
            last_s: in seconds, >= `first_s`.
            jitter: the share by which a wait is shorter or longer.
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
        """Ask nobody any more."""
        self._due.clear()
        self._wait_s.clear()

    def add(self, names: Iterable[str], due: float) -> None:
        """Have each of `names` asked at `due`, as if for the first time. Of too many the oldest go."""
        for name in names:
            self._due.pop(name, None)
            self._due[name] = due
            self._wait_s[name] = self._first_s
        while len(self._due) > MOST_SEEDS:
            oldest = next(iter(self._due))
            del self._due[oldest], self._wait_s[oldest]

    def next_due(self) -> float:
        """Return when the next one is due; ``math.inf`` when there is none."""
        return min(self._due.values(), default=math.inf)

    def take_due(self, now: float, is_wanted: Callable[[str], bool] | None = None) -> list[str]:
        """Return whom to ask now; those that are not wanted begin anew.

        Those beyond what may be asked at once are due again after the first wait.
        """
        share = 1.0 - self._jitter + 2 * self._jitter * self._random.random()  # one for all: they stay in step
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
