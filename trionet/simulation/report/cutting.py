"""Chooses the events of a long run that a page has room for: those nearest to what the page is about.

Invariant: kept events stay in order; what is left out is told, as spans of time with the number of events.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Gap", "Kept", "kept_around"]


class Gap(NamedTuple):
    """Neighbouring events that are left out.

    Attributes:
        first, last: the indexes of the first and the last one.
    """

    first: int
    last: int


class Kept(NamedTuple):
    """What is kept of a list, and what isn't.

    Attributes:
        indexes: of the kept ones, in ascending order.
        gaps: the others, in order.
    """

    indexes: list[int]
    gaps: list[Gap]


def kept_around(sizes: Sequence[int], focuses: Sequence[int], most: int) -> Kept:
    """Return what is kept of a list so that it has a size of `most` together: what is nearest to the focuses.

    Args:
        sizes: the size of each one.
        focuses: the indexes that matter, the first one most.
        most: the size of all kept ones together, >= 0.
    """
    if sum(sizes) <= most:
        return Kept(list(range(len(sizes))), [])
    distances = [min((abs(index - focus) for focus in focuses), default=index) for index in range(len(sizes))]
    kept, left = [], most
    for index in sorted(range(len(sizes)), key=distances.__getitem__):
        left -= sizes[index]
        if left < 0:
            break
        kept.append(index)
    kept.sort()
    edges = [-1, *kept, len(sizes)]
    gaps = [Gap(one + 1, other - 1) for one, other in pairwise(edges) if other - one > 1]
    return Kept(kept, gaps)
