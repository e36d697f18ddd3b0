"""Whom to ask in each round, so that a round costs no more in a cluster of a thousand members than in one of sixty.

Invariants: a round has at most `most` members; each member's turn comes, however many there are and whatever the others
report; a member with a long report is asked less often, by as much as it is longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.identity import SID

__all__ = ["Rounds"]

_EVERY_S: Final = 0.9
"""A little less than the time between two gatherings."""
_EVERY_FAILED_S: Final = 5.0
_PER_S: Final = 500
"""So many calls a second of one member are read."""


class Rounds:
    """The turns of the members of a cluster.

    Args:
        most: the most members of one round.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._due_at: dict[SID, float] = {}
        self._busy: set[SID] = set()

    def next_round(self, members: Iterable[SID], now: float) -> list[SID]:
        """Return the members to ask now: those whose turn it is, the busy ones first, but for a quarter of the places.

        Args:
            members: the present members; all others are forgotten.
            now: the time, in seconds.
        """
        present = dict.fromkeys(members)
        self._due_at = {sid: self._due_at.get(sid, 0.0) for sid in present}
        self._busy &= present.keys()
        due = sorted((at, sid) for sid, at in self._due_at.items() if at <= now)
        busy = [sid for _, sid in due if sid in self._busy][: self._most - max(1, self._most // 4)]
        chosen = dict.fromkeys(busy)
        for _, sid in due:
            if len(chosen) >= self._most:
                break
            chosen[sid] = None
        return list(chosen)

    def note(self, sid: SID, now: float, calls: int) -> None:
        """Note that a member has reported so many calls."""
        self._due_at[sid] = now + max(_EVERY_S, calls / _PER_S)
        if calls:
            self._busy.add(sid)
        else:
            self._busy.discard(sid)

    def note_failure(self, sid: SID, now: float) -> None:
        """Note that a member has not answered: it may be slow, so its next turn comes later."""
        self._due_at[sid] = now + _EVERY_FAILED_S
