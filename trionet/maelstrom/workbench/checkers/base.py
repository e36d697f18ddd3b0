"""What checkers have in common: how verdicts add up, and quantiles.

A verdict is True, False, or ``"unknown"``; results are dictionaries with one under ``valid?``, named as in Maelstrom.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["QUANTILES", "UNKNOWN", "Results", "Verdict", "quantiles", "worst"]

Verdict = bool | str
Results = dict[str, Any]

UNKNOWN: Final = "unknown"
QUANTILES: Final = (0, 0.5, 0.95, 0.99, 1)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict: False, else unknown, else True."""
    given = list(verdicts)
    if False in given:
        return False
    return UNKNOWN if UNKNOWN in given else True


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return Maelstrom's quantiles of some numbers: the one at position floor(n * q), the last one at most.

    Returns:
        By the quantile as text; 1 is the maximum. Empty if there are no numbers.
    """
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"{q:g}": ordered[min(len(ordered) - 1, math.floor(len(ordered) * q))] for q in QUANTILES}
