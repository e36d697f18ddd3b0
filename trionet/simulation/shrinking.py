"""Makes a failing trial smaller, as long as it fails in the same way: fewer faults, fewer nodes, shorter, simpler.

Invariants: what is returned has failed as the first run did: with the same invariant, and where something was raised,
with the same type at the same place; no more runs are made than allowed; the same trial gives the same result. With
enough runs, each fault in the result is needed: without any one of them the trial doesn't fail.

Source: Zeller and Hildebrandt 2002, "Simplifying and Isolating Failure-Inducing Input" (ddmin), for the faults.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import ConfigError

from .arguments import require
from .fields import SHORTEST_S
from .invariants import Violation
from .trials import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .fault import Fault

    Run = Callable[[Trial], list[Violation]]

__all__ = ["Shrunk", "shrink"]

_MOST_RUNS: Final = 300
_FEW: Final = 5


class Shrunk(msgspec.Struct, frozen=True):
    """A smaller trial that fails.

    Attributes:
        trial: it, its faults named one by one.
        violation: what it violates first, of the invariant that is asked about.
        runs: how many were made to find it.
    """

    trial: Trial
    violation: Violation
    runs: int


class _Budget(Exception):
    """No more runs are allowed."""


def shrink(
    trial: Trial,
    run: Run,
    *,
    invariant: str | None = None,
    most_runs: int = _MOST_RUNS,
    on_progress: Callable[[int, Trial], None] | None = None,
) -> Shrunk:
    """Return a smaller trial that fails in the same way.

    Args:
        trial: one that fails.
        run: runs a trial, and returns what was violated.
        invariant: the one that is to be violated; default: what the trial violates first.
        most_runs: how many runs may be made, at least 1.
        on_progress: told after each run how many there were, and what is the smallest so far.

    Raises:
        ConfigError: the trial doesn't fail, or an argument has a wrong type.
    """
    require(trial, Trial, "a trial is a Trial")
    require(most_runs, int, "most_runs is a number")
    shrinking = _Shrinking(trial.explicit(), run, invariant, most_runs, on_progress)
    with suppress(_Budget):
        shrinking.run_down()
    return Shrunk(shrinking.best, shrinking.violation, shrinking.runs)


class _Shrinking:
    """One search for something smaller."""

    def __init__(
        self,
        trial: Trial,
        run: Run,
        invariant: str | None,
        most_runs: int,
        on_progress: Callable[[int, Trial], None] | None,
    ) -> None:
        self._run = run
        self._most_runs = most_runs
        self._on_progress = on_progress
        self._known: dict[bytes, bool] = {}
        self.runs = 1
        self.best = trial
        found = [one for one in run(trial) if invariant in (None, one.invariant)]
        if not found:
            raise ConfigError("this trial does not fail")
        self.violation = found[0]

    @property
    def faults(self) -> list[Fault]:
        return self.best.faults or []

    def run_down(self) -> None:
        """Make it smaller until nothing more helps."""
        before = None
        while before != self.best:
            before = self.best
            self._fewer_faults()
            self._fewer_nodes()
            self._shorter()
            self._simpler()

    def _try(self, **changes: Any) -> bool:
        """Take a change if it still fails; return whether it does."""
        trial = msgspec.structs.replace(self.best, **changes)
        if trial == self.best:
            return False
        key = msgspec.json.encode(trial)
        if key not in self._known:
            if self.runs >= self._most_runs:
                raise _Budget
            self.runs += 1
            found = [one for one in self._run(trial) if one.is_like(self.violation)]
            self._known[key] = bool(found)
            if found:
                self.best, self.violation = trial, found[0]
            if self._on_progress is not None:
                self._on_progress(self.runs, self.best)
            return bool(found)
        return False  # what had failed was taken then, and has become smaller since

    def _fewer_faults(self) -> None:
        """Leave out faults, half of them first, at last each one by itself."""
        if self.faults and self._try(faults=[]):
            return
        parts = 2
        while self.faults:
            faults = self.faults
            parts = min(parts, len(faults))
            size = math.ceil(len(faults) / parts)
            starts = range(0, len(faults), size)
            if any(self._try(faults=faults[:start] + faults[start + size :]) for start in starts):
                parts = max(2, parts - 1)
            elif size == 1:
                return
            else:
                parts = min(len(faults), 2 * parts)

    def _fewer_nodes(self) -> None:
        """Leave out nodes: first down to a few at once, then each by itself, and what faults say of it."""
        count = self.best.nodes
        for nodes in dict.fromkeys((*range(1, _FEW + 1), count // 2)):
            if 0 < nodes < count and self._try(nodes=nodes, faults=_without(self.faults, range(nodes, count))):
                return
        for index in reversed(range(count)):
            if self.best.nodes > 1:
                self._try(nodes=self.best.nodes - 1, faults=_without(self.faults, [index]))

    def _shorter(self) -> None:
        """Let faults end, and the program with them, sooner."""
        while self.best.duration_s >= 2 * SHORTEST_S and self._try(duration_s=_round(self.best.duration_s / 2)):
            pass
        for share in (0.75, 0.9):
            self._try(duration_s=_round(share * self.best.duration_s))

    def _simpler(self) -> None:
        """Make each fault shorter, weaker, and easier to read."""
        for index in range(len(self.faults)):
            has_changed = True
            while has_changed:
                has_changed = any(self._replace(index, fault) for fault in self.faults[index].simpler())

    def _replace(self, index: int, fault: Fault) -> bool:
        faults = list(self.faults)
        faults[index] = fault
        return self._try(faults=faults)


def _round(seconds: float) -> float:
    """Return about as many seconds, with one digit after the point."""
    return max(SHORTEST_S, round(seconds, 1))


def _without(faults: list[Fault], indexes: Iterable[int]) -> list[Fault]:
    """Return the faults after some nodes are removed, and those after them move up."""
    for index in sorted(indexes, reverse=True):
        faults = [left for fault in faults if (left := fault.without(index)) is not None]
    return faults
