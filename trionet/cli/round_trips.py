"""The statistics of round trips, as ``ping`` prints them."""

from __future__ import annotations

import math

import msgspec

__all__ = ["RoundTrips", "Summary"]


class Summary(msgspec.Struct, frozen=True):
    """The round trips of one kind to one node.

    Attributes:
        sent: how many were begun.
        received: how many have come back.
        loss: the share of the others, from 0 to 1; 0 if none was begun.
        min_ms, mean_ms, median_ms, p99_ms, max_ms: in milliseconds; None if none has come back.
        jitter_ms: the mean difference between one and the next.
    """

    sent: int
    received: int
    loss: float
    min_ms: float | None = None
    mean_ms: float | None = None
    median_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    jitter_ms: float | None = None


class RoundTrips:
    """Collects round trips.

    Attributes:
        sent: how many were begun.
        times_s: those that have come back, in seconds, in their order.
    """

    def __init__(self) -> None:
        self.sent: int = 0
        self.times_s: list[float] = []

    def add(self, time_s: float | None) -> None:
        """Add a round trip; None for one that has not come back."""
        self.sent += 1
        if time_s is not None:
            self.times_s.append(time_s)

    def summary(self) -> Summary:
        """Return the statistics so far.

        Source: RFC 2681, section 4, for the percentiles: the smallest time that so many do not exceed.
        """
        times, received = sorted(self.times_s), len(self.times_s)
        loss = (self.sent - received) / self.sent if self.sent else 0.0
        if not times:
            return Summary(self.sent, 0, round(loss, 4))
        steps = [abs(one - next_) for one, next_ in zip(self.times_s, self.times_s[1:], strict=False)]
        return Summary(
            self.sent,
            received,
            round(loss, 4),
            min_ms=_ms(times[0]),
            mean_ms=_ms(sum(times) / received),
            median_ms=_ms(_percentile(times, 0.5)),
            p99_ms=_ms(_percentile(times, 0.99)),
            max_ms=_ms(times[-1]),
            jitter_ms=_ms(sum(steps) / len(steps) if steps else 0.0),
        )


def _percentile(times: list[float], share: float) -> float:
    return times[max(0, math.ceil(share * len(times)) - 1)]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
