"""Whether the other side of a link is there, and whether the link is still of use.

Pure: the time comes in, a verdict goes out. Times are on whatever clock the caller has, in seconds.

Invariants: a peer is charged only for the time in which something was owed by it: the answer to a ping counts from when
that ping went out, the rest of a frame from its first part, the answer to a bye from that bye. What this node itself
stood still for (its loop was blocked, its process stopped, its clock set ahead) is charged to nobody.
"""

from __future__ import annotations

import msgspec

__all__ = ["Liveness", "Progress", "Stalls"]


class Stalls:
    """Notices by a task that should run at regular intervals how long this node stood still."""

    __slots__ = ("_before", "_interval_s")

    def __init__(self, now: float, interval_s: float) -> None:
        self._before = now
        self._interval_s = interval_s

    def lag_s(self, now: float) -> float:
        """Return how long the node stood still before this run, in seconds; 0 unless a whole interval was missed."""
        late_s = now - self._before - self._interval_s
        self._before = now
        return late_s if late_s > self._interval_s else 0.0


class Progress(msgspec.Struct, frozen=True):
    """What has happened on a link so far.

    Attributes:
        sent_bytes: how many bytes have been handed to the operating system.
        is_idle: whether no call is in progress, in either direction.
        is_amid_frame: whether a frame has begun to arrive and has not ended.
    """

    sent_bytes: int
    is_idle: bool
    is_amid_frame: bool


class Liveness:
    """What one link knows of its peer, and what its peer owes.

    Attributes:
        heard_at: when anything came last.
        framed_at: when a frame was complete last.
        used_at: when a call, or a part of a long one, was in progress last.
        is_pinged: whether a ping is unanswered.
    """

    __slots__ = (
        "_bye_at",
        "_limit_s",
        "_partial_since",
        "_ping_end_bytes",
        "_pinged_at",
        "_sent_bytes",
        "_silence_s",
        "framed_at",
        "heard_at",
        "is_pinged",
        "used_at",
    )

    def __init__(self, now: float, idle_timeout_s: float, silence_s: float) -> None:
        """Begin with a peer that has just said hello.

        Args:
            now: the time.
            idle_timeout_s: how long a link may be of no use.
            silence_s: how long the peer may say nothing while it owes something.
        """
        self.heard_at: float = now
        self.framed_at: float = now
        self.used_at: float = now
        self.is_pinged: bool = False
        self._silence_s = silence_s
        self._limit_s = max(idle_timeout_s, silence_s)
        self._pinged_at = now
        self._ping_end_bytes = self._sent_bytes = 0
        self._bye_at: float | None = None
        self._partial_since: float | None = None

    def pinged(self, now: float, end_bytes: int) -> None:
        """Note a ping, which has gone out when `end_bytes` have been sent."""
        self.is_pinged = True
        self._pinged_at, self._ping_end_bytes = now, end_bytes

    def ponged(self) -> None:
        """Note the answer."""
        self.is_pinged = False

    def said_bye(self, now: float) -> None:
        """Note this side's bye."""
        self._bye_at = now

    def postpone(self, now: float, lag_s: float) -> None:
        """Charge nobody for the last `lag_s` seconds, in which this node stood still."""
        self.heard_at = min(now, self.heard_at + lag_s)
        self.framed_at = min(now, self.framed_at + lag_s)
        self.used_at = min(now, self.used_at + lag_s)
        self._pinged_at = min(now, self._pinged_at + lag_s)
        if self._bye_at is not None:
            self._bye_at = min(now, self._bye_at + lag_s)
        if self._partial_since is not None:
            self._partial_since = min(now, self._partial_since + lag_s)

    def fault(self, now: float, progress: Progress) -> str | None:
        """Return why the link is to be closed now, or None. To be asked about once a second."""
        self._note_progress(now, progress)
        if self._is_silent(now, progress):
            return f"there was no sign of life for {self._silence_s:g} s"
        if self.is_pinged and now - self._pinged_at >= self._limit_s:
            return f"it answered no ping for {self._limit_s:g} s"
        if self._partial_since is not None and now - self._partial_since >= self._limit_s:
            return f"it took longer than {self._limit_s:g} s to send a frame"
        if self._bye_at is not None and progress.is_idle and now - max(self._bye_at, self.used_at) >= self._silence_s:
            return f"it did not part within {self._silence_s:g} s"
        return None

    def _note_progress(self, now: float, progress: Progress) -> None:
        if progress.sent_bytes < self._ping_end_bytes and progress.sent_bytes > self._sent_bytes:
            self._pinged_at = now  # the ping waits behind what the peer is still reading
        self._sent_bytes = progress.sent_bytes
        if not progress.is_amid_frame:
            self._partial_since = None
        elif self._partial_since is None or self.framed_at > self._partial_since:
            self._partial_since = now  # its first part came since the last look

    def _is_silent(self, now: float, progress: Progress) -> bool:
        owed_since = self._pinged_at if self.is_pinged else self.heard_at
        is_owing = self.is_pinged or progress.is_amid_frame
        return is_owing and now - max(owed_since, self.heard_at) >= self._silence_s
