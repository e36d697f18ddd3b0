"""How other members see the cluster, where that differs from the serving node's view.

Invariants: a difference is one about who is there: that another member has forgotten one that is gone, or knows one
that is gone here, is none. The work of a second is bounded; what is left is done in the next one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from trionet.errors import TrionetError
from trionet.identity import NodeAddress
from trionet.protocols.statements import State
from trionet.services.sight import MOST_VIEWED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trionet.identity import SID

    from .glances import Answer, Glance
    from .roster import Entry, Roster

__all__ = ["Views", "differences", "sid_of"]

_MOST_A_TIME: Final = 128
"""The views that are compared each second."""
_MOST_SEEN: Final = 512
"""The differences of one view that are shown."""
_MOST_OF_ALL: Final = 12_000
"""Those of all views together: some 300 KB."""
_LEAST_OF_ONE: Final = 4

_DOUBTED: Final = (State.SUSPECT, State.DEAD)
_PRESENT: Final = ("alive", "suspect")
_STATES: Final = ("alive", "suspect", "failed", "left")


class Views:
    """The differences of all views, kept from second to second.

    Attributes:
        left_out: how many of the last ones are not shown, because there are too many together.
    """

    def __init__(self) -> None:
        self.left_out: int = 0
        self._found: dict[SID, tuple[Answer, int, dict[SID, str]]] = {}

    def refresh(self, glances: Mapping[SID, Glance], roster: Roster, own: SID) -> dict[SID, dict[SID, str]]:
        """Return what each other member that has answered sees otherwise; nothing for one that agrees."""
        doubted = {name: entry for name, entry in roster.by_name.items() if entry.info.state in _DOUBTED}
        found: dict[SID, tuple[Answer, int, dict[SID, str]]] = {}
        left = _MOST_A_TIME
        for sid, glance in glances.items():
            answer = glance.answer
            if answer is None or sid == own:
                continue
            known = self._found.get(sid)
            if known is None or (left and (known[0] is not answer or known[1] != roster.view)):
                left -= left > 0
                known = answer, roster.view, differences(answer, roster.by_name, doubted)
            found[sid] = known
        self._found = found
        return self._within({sid: seen for sid, (_, _, seen) in found.items()})

    def _within(self, every: dict[SID, dict[SID, str]]) -> dict[SID, dict[SID, str]]:
        """Return the views with as many differences as fit: the same share of each that has more."""
        total = sum(map(len, every.values()))
        if total <= _MOST_OF_ALL:
            self.left_out = 0
            return every
        share = max(_LEAST_OF_ONE, _MOST_OF_ALL // sum(map(bool, every.values())))
        shown = {sid: seen if len(seen) <= share else dict(islice(seen.items(), share)) for sid, seen in every.items()}
        self.left_out = total - sum(map(len, shown.values()))
        return shown


def differences(answer: Answer, entries: Mapping[str, Entry], doubted: Mapping[str, Entry]) -> dict[SID, str]:
    """Return how a member sees others, where that differs, by SID; ``absent`` for one that it doesn't know.

    Args:
        answer: the member's answer.
        entries: the members as the serving node knows them, by address.
        doubted: those of them that are suspected here, or have failed.
    """
    if answer.seen is None:
        return {}
    found: dict[SID, str] = {}
    for name, status in list(answer.seen.items())[:_MOST_SEEN]:
        entry = entries.get(name)
        ours = "" if entry is None else entry.member.status
        sid = sid_of(name) if entry is None else entry.sid
        if sid and status in _STATES and status != ours and (status in _PRESENT or ours in _PRESENT):
            found[sid] = status
    if answer.is_whole:
        found |= {one.sid: "absent" for name, one in entries.items() if one.is_present and name not in answer.seen}
    elif len(answer.seen) < MOST_VIEWED:  # it has named all that it doubts
        found |= {one.sid: "alive" for name, one in doubted.items() if name not in answer.seen}
    return dict(sorted(found.items())[:_MOST_SEEN])


def sid_of(name: str) -> SID:
    """Return the SID of an address that a peer has named; empty if it is none."""
    try:
        return NodeAddress.of(name).sid
    except TrionetError:
        return ""
