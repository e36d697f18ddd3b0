"""Whether the other side of a link is there, and whether the link is still of use.

Pure: the time comes in, a verdict goes out. Times are on whatever clock the caller has, in seconds.

Invariants: a peer is charged only for the time in which something was owed by it: the answer to a ping counts from when
that ping went out, the rest of a frame from its first part, the answer to a bye from that bye. What this node itself
stood still for (its loop was blocked, its process stopped, its clock set ahead) is charged to nobody.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["AT_ONCE", "TICK_S", "Liveness", "Progress"]

AT_ONCE: Final = 0.0
"""The deadline of a link that has become active and doesn't know the time."""

TICK_S: Final = 1.0
"""Interval of a link's looks at its peer, while it is active."""


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
    """What a link knows of its peer, what its peer owes, and when to look next.

    Attributes:
        deadline: when to look next.
        is_resting: whether nothing is in progress or owed, so that the next look can wait.
        heard_at: when input came last.
        framed_at: when a frame was complete last.
        used_at: when a call, or a part of a long one, was in progress last.
        pinged_at: when the unanswered ping was sent; None where there is none.
        pings: how many have been sent.
    """

    __slots__ = (
        "_bye_at",
        "_idle_timeout_s",
        "_limit_s",
        "_owed_since",
        "_partial_since",
        "_ping_end_bytes",
        "_sent_bytes",
        "_silence_s",
        "deadline",
        "framed_at",
        "heard_at",
        "is_resting",
        "pinged_at",
        "pings",
        "used_at",
    )

    def __init__(self, now: float, idle_timeout_s: float, silence_s: float) -> None:
        """Begin with a peer that has just said hello.

        Args:
            now: the time.
            idle_timeout_s: how long a link may be of no use.
            silence_s: how long the peer may send nothing while it owes something.
        """
        self.deadline: float = now + TICK_S
        self.is_resting: bool = False
        self.heard_at: float = now
        self.framed_at: float = now
        self.used_at: float = now
        self.pinged_at: float | None = None
        self.pings: int = 0
        self._idle_timeout_s = idle_timeout_s
        self._silence_s = silence_s
        self._limit_s = max(idle_timeout_s, silence_s)
        self._owed_since = now
        self._ping_end_bytes = self._sent_bytes = 0
        self._bye_at: float | None = None
        self._partial_since: float | None = None

    def pinged(self, now: float, end_bytes: int) -> None:
        """Note a ping, which has been sent when `end_bytes` have."""
        self.pings += 1
        self.pinged_at = self._owed_since = now
        self._ping_end_bytes = end_bytes

    def ponged(self) -> None:
        """Note its answer."""
        self.pinged_at = None

    def said_bye(self, now: float) -> None:
        """Note this side's bye; only the first one counts."""
        if self._bye_at is None:
            self._bye_at = now

    def ended_calls(self) -> None:
        """Note that the last call of a direction has ended."""
        self.used_at = max(self.used_at, self.heard_at)

    def rouse(self, when: float = AT_ONCE) -> None:
        """Look at `when` at the latest, and then once a second."""
        self.is_resting = False
        self.deadline = min(self.deadline, when)

    def looked(self, now: float, *, is_resting: bool) -> None:
        """Set the deadline after a look."""
        self.is_resting = is_resting
        self.deadline = now + TICK_S
        if is_resting:
            self.deadline = max(self.deadline, self.used_at + self._idle_timeout_s)

    def is_unused(self, now: float) -> bool:
        """Whether an idle link has been so for its whole time-out."""
        return now - self.used_at >= self._idle_timeout_s

    def judged_at(self, now: float) -> float:
        """Return the time of the verdict for a look at `now`, with what this node itself stood still made up for.

        After a stall, input may be unread: the verdict is that of the last time.
        """
        late_s = now - self.deadline
        if late_s <= TICK_S:
            return now
        self._postpone(now, late_s)
        return now - TICK_S

    def _postpone(self, now: float, lag_s: float) -> None:
        self.heard_at = min(now, self.heard_at + lag_s)
        self.framed_at = min(now, self.framed_at + lag_s)
        self.used_at = min(now, self.used_at + lag_s)
        self._owed_since = min(now, self._owed_since + lag_s)
        if self._bye_at is not None:
            self._bye_at = min(now, self._bye_at + lag_s)
        if self._partial_since is not None:
            self._partial_since = min(now, self._partial_since + lag_s)

    def fault(self, now: float, progress: Progress) -> str | None:
        """Return why the link is to be closed now, or None. To be asked about once a second while it is active."""
        self._note_progress(now, progress)
        is_pinged = self.pinged_at is not None
        owed_since = self._owed_since if is_pinged else self.heard_at
        if (is_pinged or progress.is_amid_frame) and now - max(owed_since, self.heard_at) >= self._silence_s:
            return f"there was no sign of life for {self._silence_s:g} s"
        if is_pinged and now - self._owed_since >= self._limit_s:
            return f"it answered no ping for {self._limit_s:g} s"
        if self._partial_since is not None and now - self._partial_since >= self._limit_s:
            return f"it took longer than {self._limit_s:g} s to send a frame"
        if self._bye_at is not None and progress.is_idle and now - max(self._bye_at, self.used_at) >= self._silence_s:
            return f"it did not part within {self._silence_s:g} s"
        return None

    def _note_progress(self, now: float, progress: Progress) -> None:
        if progress.sent_bytes < self._ping_end_bytes and progress.sent_bytes > self._sent_bytes:
            self._owed_since = now  # the ping waits behind what the peer is still reading
        self._sent_bytes = progress.sent_bytes
        if not progress.is_amid_frame:
            self._partial_since = None
        elif self._partial_since is None or self.framed_at > self._partial_since:
            self._partial_since = now  # its first part came since the last look
