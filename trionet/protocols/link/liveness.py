"""Liveness of a link's peer, and idleness of the link.

Pure: the time comes in, a verdict goes out. Times are in seconds, on the caller's clock.

Invariants: a time-out of the peer counts only the time in which the peer owed something: a pong from the moment when
the ping was sent, the rest of a frame from its first part, a bye from this side's bye. Stalls of this node (a blocked
loop, a stopped process, a clock set ahead) are not counted.

A peer that crashed with its host, or a network that forgot the connection, closes nothing. So a peer that has been
silent for a while is in doubt: it answers a ping before a call is sent to it.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["AT_ONCE", "DOUBT_S", "TICK_S", "Liveness", "Progress"]

AT_ONCE: Final = 0.0
"""The deadline of a link that has just become active: the next `advance` sets the real one."""

TICK_S: Final = 1.0
"""The interval of liveness checks on an active link."""

DOUBT_S: Final = 5.0
"""A peer that has been silent for so long may have crashed since, and another life may have its address."""


class Progress(msgspec.Struct, frozen=True):
    """The progress of a link so far.

    Attributes:
        sent_bytes: bytes passed to the operating system.
        is_idle: whether no call is in progress, in either direction.
        is_amid_frame: whether an incomplete frame has been received.
    """

    sent_bytes: int
    is_idle: bool
    is_amid_frame: bool


class Liveness:
    """The state of liveness checks of one link.

    Attributes:
        deadline: the time of the next check.
        is_resting: whether nothing is in progress or owed, so that the next check can wait for the idle time-out.
        heard_at: the time of the last input.
        framed_at: the time of the last complete frame.
        used_at: the last time with a call, or a part of a long one, in progress.
        pinged_at: the time of the unanswered ping, or None.
        pings: the number of pings sent.
    """

    __slots__ = (
        "_bye_at",
        "_has_stalled",
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
        """Start after the peer's hello.

        Args:
            now: the time.
            idle_timeout_s: the time limit for an idle link.
            silence_s: the time limit for a peer that owes something and sends nothing.
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
        self._has_stalled = False

    def pinged(self, now: float, end_bytes: int) -> None:
        """Register a ping; it is sent when `end_bytes` are."""
        self.pings += 1
        self.pinged_at = self._owed_since = now
        self._ping_end_bytes = end_bytes

    def ponged(self) -> None:
        """Handle the pong."""
        self.pinged_at = None
        self._has_stalled = False

    def said_bye(self, now: float) -> None:
        """Register this side's bye; only the first one counts."""
        if self._bye_at is None:
            self._bye_at = now

    def ended_calls(self) -> None:
        """Handle the end of the last call of a direction."""
        self.used_at = max(self.used_at, self.heard_at)

    def rouse(self, when: float = AT_ONCE) -> None:
        """Check at `when` at the latest, and then once a second."""
        self.is_resting = False
        self.deadline = min(self.deadline, when)

    def looked(self, now: float, *, is_resting: bool) -> None:
        """Set the deadline after a check."""
        self.is_resting = is_resting
        self.deadline = now + TICK_S
        if is_resting:
            self.deadline = max(self.deadline, self.used_at + self._idle_timeout_s)

    def is_in_doubt(self, now: float) -> bool:
        """Whether the peer of a resting link must answer a ping before a call is sent to it."""
        return self._has_stalled or now - self.heard_at >= DOUBT_S

    def doubt(self, now: float) -> None:
        """Have calls on an idle link wait for the pong that is due, if its peer has been silent for long."""
        if self.pinged_at is not None and self.is_in_doubt(now):
            self.is_resting = True

    @property
    def is_asked(self) -> bool:
        """Whether calls on the resting link wait for the answer to a ping."""
        return self.is_resting and self.pinged_at is not None

    def is_unused(self, now: float) -> bool:
        """Whether the idle time-out of an idle link has expired."""
        return now - self.used_at >= self._idle_timeout_s and not self.is_asked

    def judged_at(self, now: float) -> float:
        """Return the time of the verdict for a check at `now`; a stall of this node postpones all time-outs.

        After a stall, input may be unread: the verdict is that of the previous check.
        """
        late_s = now - self.deadline
        if late_s <= TICK_S:
            return now
        self._postpone(now, late_s)
        return now - TICK_S

    def _postpone(self, now: float, lag_s: float) -> None:
        self._has_stalled = True
        self.heard_at = min(now, self.heard_at + lag_s)
        self.framed_at = min(now, self.framed_at + lag_s)
        self.used_at = min(now, self.used_at + lag_s)
        self._owed_since = min(now, self._owed_since + lag_s)
        if self._bye_at is not None:
            self._bye_at = min(now, self._bye_at + lag_s)
        if self._partial_since is not None:
            self._partial_since = min(now, self._partial_since + lag_s)

    def fault(self, now: float, progress: Progress) -> str | None:
        """Return the reason to close the link now, or None. Called once a second on an active link."""
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
            self._owed_since = now  # the peer is still reading the bytes before the ping
        self._sent_bytes = progress.sent_bytes
        if not progress.is_amid_frame:
            self._partial_since = None
        elif self._partial_since is None or self.framed_at > self._partial_since:
            self._partial_since = now  # its first part arrived after the last check
