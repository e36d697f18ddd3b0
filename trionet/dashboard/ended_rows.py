"""Rows of calls that have ended: they are shown for some seconds more, with how they have ended, as far as known.

Nodes report what runs, and nothing of what has ended: so a call has ended when its node reports it no longer.

Invariant: at most `MOST_ENDED` rows are kept, each for `SHOWN_S`, and only such as were shown before. Short calls that
just end are not kept: a busy node has always some, and they would hide all else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from trionet.identity import SID

__all__ = ["MOST_ENDED", "SHOWN_S", "EndedRows"]

_Row = dict[str, Any]

SHOWN_S: Final = 5.0
"""How long a row is shown after its end."""

MOST_ENDED: Final = 200

_JUST_S: Final = 0.5
"""The time from a deadline to the end of a call, at most: its end is noticed a little later."""
_SHORT_S: Final = 1.5
_CANCELLED: Final = frozenset({"cancelling", "cancelled", "orphan"})


class EndedRows:
    """The rows of calls that have ended a short while ago."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._rows: dict[str, _Row] = {}

    def add(self, gone: Mapping[str, _Row], members: Collection[SID], now: float) -> None:
        """Add rows that were shown until now.

        Args:
            gone: the rows, by key.
            members: the present members; calls on others have ended with them.
            now: in seconds since 1970.
        """
        for key, row in gone.items():
            if "ended" in row or len(self._rows) >= MOST_ENDED:
                continue
            how = _how(row, members, now)
            if how != "done" or now - row.get("begun", now) >= _SHORT_S:
                self._until[key] = now + SHOWN_S
                self._rows[key] = row | {"ended": how}

    def shown(self, known: Collection[str], now: float) -> dict[str, _Row]:
        """Return the rows to show still; those that are known run again, or still."""
        for key in [key for key, until in self._until.items() if until <= now or key in known]:
            del self._until[key], self._rows[key]
        return dict(self._rows)


def _how(row: _Row, members: Collection[SID], now: float) -> str:
    """Return how a call has ended: ``node``: with its node; ``cancelled``; ``deadline``; or ``done``, for all else."""
    if row["node"] not in members:
        return "node"
    if row.get("state") in _CANCELLED:
        return "cancelled"
    deadline = row.get("deadline")
    return "deadline" if deadline is not None and deadline <= now + _JUST_S else "done"
