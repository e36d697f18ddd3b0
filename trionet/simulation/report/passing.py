"""Finds the run that is most like a failing one, and passes.

Without one of its faults, a shrunk run passes; until this fault begins, both runs are equal, to the last message.
Where no fault is to blame, the nearest run has another seed.

Invariant: the same trial gives the same result; the number of runs is limited.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.simulation.arguments import require
from trionet.simulation.fault import Fault
from trionet.simulation.trials import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trionet.simulation.invariants import Violation

    Run = Callable[[Trial], list[Violation]]

__all__ = ["Passing", "nearest_passing"]

_MOST_RUNS: Final = 24
_MOST_WITHOUT: Final = 12
"""The most runs without one fault."""


class Passing(msgspec.Struct, frozen=True):
    """A passing trial that is like a failing one.

    Attributes:
        trial: the trial.
        without: the faults of the failing trial that it lacks; with none of them its seed is another one.
    """

    trial: Trial
    without: list[Fault] = []


def nearest_passing(
    trial: Trial, run: Run, *, most_runs: int = _MOST_RUNS, on_progress: Callable[[int], object] | None = None
) -> Passing | None:
    """Return the passing trial that is most like a failing one; None if none of the tried ones passes.

    That is the same trial without one of its faults, the last one if possible, or without all of them; or else with
    another seed, the nearest one, rather a smaller than a greater one.

    Args:
        trial: a trial that fails.
        run: runs a trial, and returns its violations.
        most_runs: the most runs.
        on_progress: called after each run with the number of runs.

    Raises:
        ConfigError: an argument has a wrong type.
    """
    require(trial, Trial, "a trial is a Trial")
    require(most_runs, int, "most_runs is a number")
    for number, candidate in enumerate(islice(_candidates(trial.explicit()), max(0, most_runs)), 1):
        violations = run(candidate.trial)
        if on_progress is not None:
            on_progress(number)
        if not violations:
            return candidate
    return None


def _candidates(trial: Trial) -> Iterable[Passing]:
    return chain(_with_fewer_faults(trial), _with_other_seeds(trial))


def _with_fewer_faults(trial: Trial) -> Iterator[Passing]:
    faults = trial.faults or []
    last_first = sorted(faults, key=lambda fault: fault.at_s, reverse=True)
    for fault in last_first[:_MOST_WITHOUT]:
        left = [other for other in faults if other is not fault]
        yield Passing(msgspec.structs.replace(trial, faults=left), [fault])
    if len(faults) > 1:
        yield Passing(msgspec.structs.replace(trial, faults=[]), faults)


def _with_other_seeds(trial: Trial) -> Iterator[Passing]:
    distance = 0
    while True:
        distance += 1
        for seed in (trial.seed - distance, trial.seed + distance):
            if seed >= 0:
                yield Passing(msgspec.structs.replace(trial, seed=seed))
