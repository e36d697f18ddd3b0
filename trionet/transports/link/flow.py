"""A window of bytes, which keeps a link's memory bounded, and an estimate of its round trip."""

from __future__ import annotations

from collections import deque

import trio

__all__ = ["ByteWindow", "RoundTrip"]


class ByteWindow:
    """Bytes that may be on their way at once, handed out first come, first served.

    Invariants: what has been acquired and not released never exceeds `size`; whoever has waited longest gets the next
    bytes, so that a large message isn't overtaken for ever by small ones.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._waiting: deque[tuple[int, trio.lowlevel.Task]] = deque()

    async def acquire(self, count: int) -> None:
        """Take `count` bytes, at most `size`; wait until they are free."""
        assert count <= self.size
        if not self._waiting and count <= self._free:
            self._free -= count
            return
        entry = (count, trio.lowlevel.current_task())
        self._waiting.append(entry)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._waiting.remove(entry)
            self._serve()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def is_free(self, count: int) -> bool:
        """Whether `count` bytes can be taken without waiting."""
        return not self._waiting and count <= self._free

    def release(self, count: int) -> None:
        """Give `count` bytes back."""
        self._free = min(self.size, self._free + count)
        self._serve()

    def close(self) -> None:
        """Let go everyone who waits."""
        while self._waiting:
            trio.lowlevel.reschedule(self._waiting.popleft()[1])

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, task = self._waiting.popleft()
            self._free -= count
            trio.lowlevel.reschedule(task)


class RoundTrip:
    """Smoothed round-trip time, and from it how long to wait for a confirmation.

    Source: RFC 6298, section 2, for the estimate.
    """

    GRACE_MIN_S = 0.1
    GRACE_MAX_S = 1.0

    def __init__(self) -> None:
        self._smoothed_s: float | None = None
        self._variation_s = 0.0

    def add(self, sample_s: float) -> None:
        """Take one measured round trip into account."""
        if self._smoothed_s is None:
            self._smoothed_s, self._variation_s = sample_s, sample_s / 2
        else:
            self._variation_s += (abs(self._smoothed_s - sample_s) - self._variation_s) / 4
            self._smoothed_s += (sample_s - self._smoothed_s) / 8

    @property
    def smoothed_s(self) -> float | None:
        """The smoothed round trip in seconds; None before the first sample."""
        return self._smoothed_s

    def grace_s(self) -> float:
        """Return how long a confirmation may take: four round trips and their variation, from 0.1 s to 1 s."""
        if self._smoothed_s is None:
            return self.GRACE_MAX_S
        return min(self.GRACE_MAX_S, max(self.GRACE_MIN_S, 4 * (self._smoothed_s + self._variation_s)))
