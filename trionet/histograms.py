"""Histograms of durations, as lists of integers: to count one costs an index and two additions.

A histogram has `BUCKETS` counts, and at `SUM` the sum in nanoseconds. The first bucket is for up to 50 us, and each
further one for up to twice as much; the last are out of reach, so that no index needs a check.

To read the clock costs more than all else. So where calls of a kind end within 50 us of each other, one in eight is
timed: as calls begin, `SKIP` counts down from `STRIDE` to it. The others count as the last one that was timed:
``histogram[UNTIMED] += 1``. The number of them is exact in any case.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = [
    "AT",
    "LIMITS_S",
    "NO_DURATIONS",
    "SKIP",
    "STRIDE",
    "SUM",
    "UNIT_NS",
    "UNTIMED",
    "Durations",
    "begin_timed",
    "count_s",
    "count_timed",
    "durations",
    "new_histogram",
    "total",
]

UNIT_NS: Final = 50_000
"""The index of a duration is ``(nanoseconds // UNIT_NS).bit_length()``."""

SUM: Final = 64
SKIP: Final = SUM + 1
AT: Final = SUM + 2
UNTIMED: Final = SUM + 3
STRIDE: Final = SUM + 4
_BUCKET: Final = SUM + 5
_SPENT: Final = SUM + 6
_FAST_NS: Final = 50_000
_MOST_UNTIMED: Final = 7
_SHOWN: Final = 22

LIMITS_S: Final = tuple(UNIT_NS / 1e9 * 2**power for power in range(_SHOWN))
"""The upper limits of the buckets, in seconds: from 50 us to 105 s; longer durations are in one more bucket."""


class Durations(msgspec.Struct, frozen=True):
    """The counted durations of one kind.

    Attributes:
        count: how many there were.
        sum_s: their sum, in seconds.
        buckets: how many there were up to each limit of `LIMITS_S`, and over the one before; those over the last limit
            come last.
    """

    count: int
    sum_s: float
    buckets: list[int]


NO_DURATIONS: Final = Durations(0, 0.0, [0] * (_SHOWN + 1))


def new_histogram() -> list[int]:
    """Return a histogram without any duration."""
    return [0] * (_SPENT + 1)


def begin_timed(histogram: list[int] | None, now_ns: int) -> int:
    """Return `now_ns`, at the begin of a call that is timed; so many of the next ones as the stride says are not."""
    if histogram is not None:
        histogram[SKIP] = histogram[STRIDE]
    return now_ns


def count_timed(histogram: list[int], begun_ns: int, now_ns: int) -> None:
    """Count a duration that ends now; where they end fast, few of the next ones are timed."""
    spent_ns, gap_ns, stride = now_ns - begun_ns, now_ns - histogram[AT], histogram[STRIDE]
    bucket = (spent_ns // UNIT_NS).bit_length()
    histogram[bucket] += 1
    histogram[SUM] += spent_ns
    histogram[AT] = now_ns
    if 0 < gap_ns < _FAST_NS * (stride + 1):  # in virtual time it is often 0
        if histogram[UNTIMED]:
            _settle(histogram)
        histogram[STRIDE], histogram[_BUCKET], histogram[_SPENT] = _MOST_UNTIMED, bucket, spent_ns
    else:
        histogram[STRIDE] = 0


def _settle(histogram: list[int]) -> None:
    """Count the durations that were not timed as the last one that was."""
    untimed, histogram[UNTIMED] = histogram[UNTIMED], 0
    histogram[histogram[_BUCKET]] += untimed
    histogram[SUM] += untimed * histogram[_SPENT]


def count_s(histogram: list[int], seconds: float) -> None:
    """Count a duration in seconds; a negative one counts as 0."""
    spent_ns = max(0, int(seconds * 1e9))
    histogram[(spent_ns // UNIT_NS).bit_length()] += 1
    histogram[SUM] += spent_ns


def durations(histogram: list[int]) -> Durations:
    """Return what a histogram has counted."""
    _settle(histogram)
    buckets = [*histogram[:_SHOWN], sum(histogram[_SHOWN:SUM])]
    return Durations(sum(buckets), histogram[SUM] / 1e9, buckets)


def total(one: Durations, other: Durations) -> Durations:
    """Return two kinds of durations as one."""
    buckets = [mine + theirs for mine, theirs in zip(one.buckets, other.buckets, strict=True)]
    return Durations(one.count + other.count, one.sum_s + other.sum_s, buckets)
