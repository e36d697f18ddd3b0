"""Rows of calls that have ended: they are shown for some seconds more, with how they have ended, as far as known.

A node reports what runs, and how many calls of each method have ended with which outcome. So a call has ended when its
node reports it no longer; and how, if since the report before all calls of its method have ended in the same way, or if
its own state says so.

Invariant: at most `MOST_ENDED` rows are kept, each for `SHOWN_S`, and only such as were shown before. Short calls that
just end are not kept: a busy node has always some, and they would hide all else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from trionet.identity import SID
    from trionet.protocols.call_reports import EndCount

__all__ = ["MOST_ENDED", "SHOWN_S", "EndedRows", "Outcomes"]

_Row = dict[str, Any]

SHOWN_S: Final = 5.0
"""How long a row is shown after its end."""

MOST_ENDED: Final = 200

_JUST_S: Final = 0.5
"""The time from a deadline to the end of a call, at most: its end is noticed a little later."""
_SHORT_S: Final = 1.5
_CANCELLED: Final = frozenset({"cancelling", "cancelled", "orphan"})
_PLAIN: Final = frozenset({"done", "ok"})
_KNOWN: Final = frozenset({"ok", "error", "timeout", "cancelled"})


class Outcomes:
    """How the calls of each node have ended since the last time that rows were made."""

    def __init__(self) -> None:
        self._before: dict[SID, dict[tuple[str, str, str], int]] = {}
        self._since: dict[SID, dict[tuple[str, str], set[str]]] = {}

    def note(self, counts: Mapping[SID, Iterable[EndCount]]) -> None:
        """Note the latest counts of all nodes."""
        now = {sid: {(one.service, one.method, one.outcome): one.count for one in ends} for sid, ends in counts.items()}
        self._since = {}
        for sid, ends in now.items():
            before = self._before.get(sid)
            if before is None:
                continue
            found = self._since[sid] = {}
            for (service, method, outcome), count in ends.items():
                if outcome in _KNOWN and count > before.get((service, method, outcome), 0):
                    found.setdefault((service, method), set()).add(outcome)
        self._before = now

    def of(self, row: _Row) -> Collection[str]:
        """Return the outcomes that a call may have had that has ended meanwhile."""
        return self._since.get(row["node"], {}).get((row["service"], row["method"]), ())


class EndedRows:
    """The rows of calls that have ended a short while ago."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._rows: dict[str, _Row] = {}

    def add(self, gone: Mapping[str, _Row], members: Collection[SID], outcomes: Outcomes, now: float) -> None:
        """Add rows that were shown until now.

        Args:
            gone: the rows, by key.
            members: the present members; calls on others have ended with them.
            outcomes: how calls have ended meanwhile.
            now: in seconds since 1970.
        """
        for key, row in gone.items():
            if "ended" in row or len(self._rows) >= MOST_ENDED:
                continue
            how = "node" if row["node"] not in members else _how(row, outcomes.of(row), now)
            if how not in _PLAIN or now - row.get("begun", now) >= _SHORT_S:
                self._until[key] = now + SHOWN_S
                self._rows[key] = row | {"ended": how}

    def shown(self, known: Collection[str], now: float) -> dict[str, _Row]:
        """Return the rows to show still; those that are known run again, or still."""
        for key in [key for key, until in self._until.items() if until <= now or key in known]:
            del self._until[key], self._rows[key]
        return dict(self._rows)


def _how(row: _Row, outcomes: Collection[str], now: float) -> str:
    """Return the outcome of a call; ``done`` if it is not known."""
    if len(outcomes) == 1:
        return next(iter(outcomes))
    deadline = row.get("deadline")
    is_over = deadline is not None and deadline <= now + _JUST_S
    if is_over and (not outcomes or "timeout" in outcomes):
        return "timeout"
    if row.get("state") in _CANCELLED and (not outcomes or "cancelled" in outcomes):
        return "cancelled"
    return "done"
