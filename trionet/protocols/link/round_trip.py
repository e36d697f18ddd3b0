"""An estimate of a link's round trip."""

from __future__ import annotations

__all__ = ["RoundTrip"]


class RoundTrip:
    """The smoothed round-trip time, and the time limit for a confirmation.

    Source: RFC 6298, section 2, for the estimate.

    Attributes:
        smoothed_s: the smoothed round trip in seconds; None before the first sample.
    """

    GRACE_MIN_S = 0.1
    GRACE_MAX_S = 1.0

    __slots__ = ("_variation_s", "smoothed_s")

    def __init__(self) -> None:
        self.smoothed_s: float | None = None
        self._variation_s = 0.0

    def add(self, sample_s: float) -> None:
        """Add one measured round trip."""
        if self.smoothed_s is None:
            self.smoothed_s, self._variation_s = sample_s, sample_s / 2
        else:
            self._variation_s += (abs(self.smoothed_s - sample_s) - self._variation_s) / 4
            self.smoothed_s += (sample_s - self.smoothed_s) / 8

    def grace_s(self) -> float:
        """Return the time limit for a confirmation: four round trips and their variation, from 0.1 s to 1 s."""
        if self.smoothed_s is None:
            return self.GRACE_MAX_S
        return min(self.GRACE_MAX_S, max(self.GRACE_MIN_S, 4 * (self.smoothed_s + self._variation_s)))
