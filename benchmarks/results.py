"""The results of a benchmark, as a table and as data.

Ratios are taken within a round, where all peers met the same machine, and then their median: a busy machine changes
the times, and hardly the ratios.
"""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Figure",
    "Goal",
    "Result",
    "Samples",
    "bootstrapped",
    "formatted",
    "median",
    "percentile",
    "ratio",
    "ratios",
]

_NEARLY_ONE = 0.99
_DRAWS = 2000

Samples = dict[str, list[float | None]]
"""Name to one number for each round; None for a round that failed."""


class Goal(msgspec.Struct, frozen=True):
    """A goal, and the measured number.

    Attributes:
        what: the measure.
        limit: the number to reach.
        at_least: whether the measured number is to be at least, or at most, that.
        measured: None when it could not be measured.
        unit: of both.
    """

    what: str
    limit: float
    at_least: bool
    measured: float | None
    unit: str = "x"

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is reached; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        verdict = {True: "reached", False: "MISSED", None: "not measured"}[self.is_reached]
        relation = "at least" if self.at_least else "at most"
        return (
            f"{self.what}: {formatted(self.measured)} {self.unit} (goal: {relation} {formatted(self.limit)}), {verdict}"
        )


class Figure(msgspec.Struct, frozen=True):
    """A measure that runs of another day are compared by: a ratio, or the processor time of one piece of work.

    Attributes:
        what: the measure.
        samples: one number for each round.
        at_least: whether more is better.
        unit: of the samples; ``x`` for a ratio, which machines share.
    """

    what: str
    samples: list[float]
    at_least: bool = True
    unit: str = "x"


class Result(msgspec.Struct):
    """The results of one benchmark.

    Attributes:
        title: what was measured, in one line.
        columns: the table's headings.
        rows: its rows, of texts and numbers.
        samples: every sample, by measure and then by peer.
        goals: the goals.
        problems: what did not work, in sentences.
        skipped: peers that were left out, and why.
        figures: what later runs are compared by, beside the goals.
    """

    title: str
    columns: list[str]
    rows: list[list[Any]] = []
    samples: dict[str, Samples] = {}
    goals: list[Goal] = []
    problems: list[str] = []
    skipped: list[str] = []
    figures: list[Figure] = []

    def watch(
        self,
        what: str,
        samples: Sequence[float | None],
        *,
        at_least: bool = True,
        unit: str = "x",
        limit: float | None = None,
    ) -> None:
        """Keep the samples of a measure, without None, for later comparisons; with `limit` it is a goal, too."""
        found = [sample for sample in samples if sample is not None]
        if found:
            self.figures.append(Figure(what, found, at_least, unit))
        if limit is not None:
            self.goals.append(Goal(what, limit, at_least, median(found), unit))

    def shown(self) -> str:
        """Return it as text."""
        table = [self.columns, *([formatted(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[index]) for row in table) for index in range(len(self.columns))]
        lines = ["", self.title, ""]
        for number, row in enumerate(table):
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append("  ".join(cells).rstrip())
            if number == 0:
                lines.append("  ".join("-" * width for width in widths))
        lines += ["", *(f"goal    {goal}" for goal in self.goals)]
        lines += [f"skipped {text}" for text in self.skipped]
        lines += [f"PROBLEM {text}" for text in self.problems]
        return "\n".join(lines)


def formatted(cell: Any) -> str:
    """Return a number with three significant digits, or a text unchanged; numbers near 1 are not shown as 1."""
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if _NEARLY_ONE < cell < 1:
        return f"{cell:.6f}"
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"


def median(numbers: Sequence[float | None]) -> float | None:
    """Return the median of the numbers, without None."""
    found = [number for number in numbers if number is not None]
    return statistics.median(found) if found else None


def ratio(of: Sequence[float | None], to: Sequence[float | None]) -> float | None:
    """Return the median of the ratios of two peers, round by round."""
    return median(ratios(of, to))


def ratios(of: Sequence[float | None], to: Sequence[float | None]) -> list[float]:
    """Return the ratios of two peers in the rounds in which both have a number; one that broke off lacks the last."""
    return [a / b for a, b in zip(of, to, strict=False) if a is not None and b]


def percentile(numbers: Sequence[float | None], share: float) -> float | None:
    """Return the percentile `share` of the numbers, without None (nearest rank)."""
    ordered = sorted(number for number in numbers if number is not None)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def bootstrapped(numbers: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return the median of the numbers, and the ends of its interval of 95 % by bootstrap; None if there are none.

    Source: Efron, Bootstrap Methods: Another Look at the Jackknife (1979); the percentile interval.
    """
    if not numbers:
        return None, None, None
    draw = random.Random(len(numbers))  # the same numbers give the same interval
    medians = sorted(statistics.median(draw.choices(numbers, k=len(numbers))) for _ in range(_DRAWS))
    return statistics.median(numbers), medians[_DRAWS // 40], medians[-_DRAWS // 40]
