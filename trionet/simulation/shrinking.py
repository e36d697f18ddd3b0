"""Makes a failing trial smaller, as long as it fails in the same way: fewer faults, fewer nodes, shorter, simpler.

Invariants: the result fails as the first run does: with the same invariant, and the same type of exception at the same
place, if any; the number of runs is limited; the same trial gives the same result. With enough runs, each fault in the
result is needed: without any one of them the trial doesn't fail.

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
        trial: the trial, with its faults in place of a scenario.
        violation: its first violation of the invariant in question.
        runs: the number of runs that it took.
    """

    trial: Trial
    violation: Violation
    runs: int


class _BudgetSpent(Exception):
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
        trial: a trial that fails.
        run: runs a trial, and returns its violations.
        invariant: the invariant in question; default: that of the first violation.
        most_runs: the most runs, at least 1.
        on_progress: called after each run with the number of runs, and the smallest failing trial so far.

    Raises:
        ConfigError: the trial doesn't fail, or an argument has a wrong type.
    """
    require(trial, Trial, "a trial is a Trial")
    require(most_runs, int, "most_runs is a number")
    explicit = trial.explicit()
    found = [one for one in run(explicit) if invariant in (None, one.invariant)]
    if not found:
        raise ConfigError("this trial does not fail")
    shrinking = _Shrinking(explicit, found[0], run, most_runs, on_progress or (lambda *_: None))
    with suppress(_BudgetSpent):
        shrinking.run_down()
    return Shrunk(shrinking.best, shrinking.violation, shrinking.runs)


class _Shrinking:
    """One search for a smaller trial."""

    def __init__(
        self, trial: Trial, violation: Violation, run: Run, most_runs: int, on_progress: Callable[[int, Trial], None]
    ) -> None:
        self.best = trial
        self.violation = violation
        self.runs = 1
        self._run = run
        self._most_runs = most_runs
        self._on_progress = on_progress
        self._tried: set[bytes] = set()

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
        """Run the best trial with changes, unless that was tried before; keep it if it fails, and return whether."""
        trial = msgspec.structs.replace(self.best, **changes)
        key = msgspec.json.encode(trial)
        if trial == self.best or key in self._tried:
            return False
        if self.runs >= self._most_runs:
            raise _BudgetSpent
        self.runs += 1
        self._tried.add(key)
        found = [one for one in self._run(trial) if one.is_like(self.violation)]
        if found:
            self.best, self.violation = trial, found[0]
        self._on_progress(self.runs, self.best)
        return bool(found)

    def _fewer_faults(self) -> None:
        """Remove faults, first half of them, at last each one by itself."""
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
        """Remove nodes, also from faults: first down to a few at once, then each one by itself."""
        count = self.best.nodes
        for nodes in dict.fromkeys((*range(1, _FEW + 1), count // 2)):
            if 0 < nodes < count and self._try(nodes=nodes, faults=_without(self.faults, range(nodes, count))):
                return
        for index in reversed(range(count)):
            if self.best.nodes > 1:
                self._try(nodes=self.best.nodes - 1, faults=_without(self.faults, [index]))

    def _shorter(self) -> None:
        """Shorten the duration, for faults and the program."""
        while self.best.duration_s >= 2 * SHORTEST_S and self._try(duration_s=_round(self.best.duration_s / 2)):
            pass
        for share in (0.75, 0.9):
            self._try(duration_s=_round(share * self.best.duration_s))

    def _simpler(self) -> None:
        """Make each fault weaker, shorter, and easier to read."""
        for index in range(len(self.faults)):
            has_changed = True
            while has_changed:
                has_changed = any(self._replace(index, fault) for fault in self.faults[index].simpler())

    def _replace(self, index: int, fault: Fault) -> bool:
        faults = list(self.faults)
        faults[index] = fault
        return self._try(faults=faults)


def _round(seconds: float) -> float:
    """Return the seconds rounded to one digit after the point."""
    return max(SHORTEST_S, round(seconds, 1))


def _without(faults: list[Fault], indexes: Iterable[int]) -> list[Fault]:
    """Return the faults after some nodes are removed, and those after them move up."""
    for index in sorted(indexes, reverse=True):
        faults = [left for fault in faults if (left := fault.without(index)) is not None]
    return faults
