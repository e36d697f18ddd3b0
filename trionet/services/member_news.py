"""The log of a cluster's members: joined and left ones in bulk, failed ones one by one.

Invariants: at most one line of joined ones and one of left ones in `PAUSE_S`, however many they are, and none is
missing in the end; it costs no timer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from trionet.log_limits import about, limited_log
from trionet.protocols.swim_events import MemberChange

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["PAUSE_S", "MemberNews"]

_log = limited_log(__name__)

PAUSE_S: Final = 10.0
"""The time between two lines of one kind, unless no other member is left, whose packets would wake this node."""

_MOST_NAMES: Final = 5
_VERBS: Final = {MemberChange.JOINED: "joined", MemberChange.LEFT: "left"}


class MemberNews:
    """Logs the changes of members, as one node sees them.

    Attributes:
        is_due: whether there may be something to log.
    """

    def __init__(self, own: NodeAddress) -> None:
        self._own = own
        self._pending: dict[MemberChange, list[NodeAddress]] = {kind: [] for kind in _VERBS}
        self._told_at: dict[MemberChange, float] = dict.fromkeys(_VERBS, -math.inf)
        self.is_due: bool = False

    def note(self, change: MemberChange, node: NodeAddress) -> None:
        """Handle a change of another member."""
        if change in self._pending:
            self._pending[change].append(node)
            self.is_due = True
        elif change is MemberChange.FAILED:
            _log.warning("node %s: the member %s has failed", self._own, node, extra=about(node, node=self._own))
        else:
            text = "node %s: member %s: %s"
            _log.debug(text, self._own, node, change.value, extra=about(node, node=self._own))

    def tell(self, present: int, now: float) -> None:
        """Log what is due.

        Args:
            present: the number of present members, this node included.
            now: in seconds; infinity at the end of the node.
        """
        for change, nodes in self._pending.items():
            if nodes and (now - self._told_at[change] >= PAUSE_S or present <= 1):
                self._told_at[change] = now
                self._tell(change, nodes, present)
                nodes.clear()
        self.is_due = any(self._pending.values())

    def _tell(self, change: MemberChange, nodes: list[NodeAddress], present: int) -> None:
        names = ", ".join(map(str, nodes[:_MOST_NAMES]))
        _log.info(
            "node %s: %d %s %s: %s%s; %d are present",
            self._own,
            len(nodes),
            "member has" if len(nodes) == 1 else "members have",
            _VERBS[change],
            names,
            f" and {len(nodes) - _MOST_NAMES:,} more" if len(nodes) > _MOST_NAMES else "",
            present,
            extra=about(self._own, node=self._own, members=present, change=_VERBS[change], count=len(nodes)),
        )
