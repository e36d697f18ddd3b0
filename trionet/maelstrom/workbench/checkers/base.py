"""The base of checkers: findings, the sum of verdicts, and quantiles.

A verdict is True, False, or ``"unknown"``. A part of the results has two: ``valid?`` is ours, and ``maelstrom-valid?``
is that of the genuine Maelstrom. Both follow from the same findings, each of which has Maelstrom's reaction.

Invariant: ours is never better than Maelstrom's; where it is worse, ``only-ours`` has the findings that make it so.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "QUANTILES",
    "SEARCH_TIMEOUT",
    "SHOWN",
    "UNKNOWN",
    "Finding",
    "Maelstrom",
    "Results",
    "Verdict",
    "judged",
    "quantiles",
    "worst",
]

Verdict = bool | str
Results = dict[str, Any]

UNKNOWN: Final = "unknown"
QUANTILES: Final = (0, 0.5, 0.95, 0.99, 1)

SHOWN: Final = 8
"""The number of cases of one kind in the results."""


class Maelstrom(enum.Enum):
    """The reaction of the genuine Maelstrom to a finding."""

    AGREES = "agrees"
    OVERLOOKS = "overlooks"
    """It does not report it."""
    CRASHES = "crashes"
    """Its checker raises an exception: its verdict is unknown, independent of the other findings."""


class Finding(NamedTuple):
    """Something that is wrong with a history.

    Attributes:
        name: its name, such as ``"lost-write"``.
        text: its description, in a line.
        maelstrom: the reaction of Maelstrom.
        verdict: False, or `UNKNOWN` if it only prevents a verdict.
    """

    name: str
    text: str = ""
    maelstrom: Maelstrom = Maelstrom.AGREES
    verdict: Verdict = False


SEARCH_TIMEOUT: Final = Finding("search-timeout", "the time to look for cycles was over", verdict=UNKNOWN)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict: False, else unknown, else True."""
    given = list(verdicts)
    if False in given:
        return False
    return UNKNOWN if UNKNOWN in given else True


def judged(findings: Iterable[Finding], details: Mapping[str, Any]) -> Results:
    """Return the results of a checker: both verdicts, the details, and the findings that Maelstrom does not have.

    Args:
        findings: all findings.
        details: further results.
    """
    found = list(findings)
    is_crash = any(finding.maelstrom is Maelstrom.CRASHES for finding in found)
    maelstroms = worst(finding.verdict for finding in found if finding.maelstrom is Maelstrom.AGREES)
    only_ours = [
        {"name": finding.name, "text": finding.text}
        for finding in found
        if finding.verdict is False and (is_crash or finding.maelstrom is not Maelstrom.AGREES)
    ]
    return {
        "valid?": worst([UNKNOWN if is_crash else True, *(finding.verdict for finding in found)]),
        "maelstrom-valid?": UNKNOWN if is_crash else maelstroms,
        **details,
        "only-ours": only_ours,
    }


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return Maelstrom's quantiles of some numbers: the one at position floor(n * q), the last one at most.

    Returns:
        By the quantile as text; 1 is the maximum. Empty if there are no numbers.
    """
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"{q:g}": ordered[min(len(ordered) - 1, math.floor(len(ordered) * q))] for q in QUANTILES}
