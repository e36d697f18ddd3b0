"""The topic ``methods``: rates, latencies and errors by method.

Invariants: a gathering asks `MOST_ASKED` members at most; a document changes by `BYTES_PER_S` at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.method_rows import FiguresOverTime, bounded_figures, figures_of, method_rows
from trionet.dashboard.paced_rows import paced
from trionet.dashboard.rounds import Rounds
from trionet.errors import CallTimeout
from trionet.message import Remote
from trionet.nesting import PACKETS
from trionet.replies import Replies
from trionet.templates.fan_out import collect

from .base import Topic
from .reasons import why

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.figures import NodeFigures
    from trionet.identity import SID, NodeAddress

__all__ = ["BYTES_PER_S", "MOST_ASKED", "MOST_ROWS", "MethodsTopic"]

MOST_ASKED: Final = 20
"""The members that are asked in one gathering."""
MOST_ROWS: Final = 500
BYTES_PER_S: Final = 20_000
"""The changes of a second; half of the rest is for the methods of a single node."""

_FIGURES: Final = Remote(service="diagnosis", method="figures")
_WITHIN_S: Final = 0.7
_FIRST_BYTES: Final = 150_000

_Rows = dict[str, dict[str, Any]]


class MethodsTopic(Topic):
    """The methods of a cluster.

    The document: ``methods``: the rows of the whole cluster, by ``service/method``; see
    `trionet.dashboard.method_rows.method_rows`; ``node``: ``sid``, and ``methods`` at the node that is looked at;
    ``nodes``: the addresses of the members that have told their figures, by SID; ``errors``: why others haven't;
    ``has_rates``: whether any has told them twice, so that there are rates.
    """

    name: ClassVar[str] = "methods"

    def __init__(self, subject: Subject) -> None:
        """Gather the figures of the cluster of a node."""
        super().__init__(subject)
        self._rounds = Rounds(MOST_ASKED)
        self._figures: dict[SID, FiguresOverTime] = {}
        self._errors: dict[SID, str] = {}
        self._shown: dict[SID, _Rows] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        members = self.subject.local.groups.members("all")
        await self._ask(members)
        found = self._figures
        by_node = {sid: [found[sid]] for sid in looked_at.nodes if sid in found}
        self._shown = {sid: rows for sid, rows in self._shown.items() if not sid or sid in by_node}
        return {
            "methods": self._next("", list(found.values()), BYTES_PER_S),
            "has_rates": any(one.rates is not None for one in found.values()),
            "by_node": {sid: self._next(sid, one, BYTES_PER_S // len(by_node)) for sid, one in by_node.items()},
            "nodes": {sid: str(members[sid]) for sid in found},
            "errors": dict(self._errors),
        }

    def _next(self, sid: SID, figures: list[FiguresOverTime], budget: int) -> _Rows:
        """Return the rows to show next, of a node, or of the cluster if there is no SID."""
        rows = dict(list(method_rows(figures).items())[:MOST_ROWS])
        before = self._shown.get(sid)
        self._shown[sid], _ = paced(before or {}, rows, budget if before else _FIRST_BYTES)
        return self._shown[sid]

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return the document of a viewer, with the one node that it looks at."""
        by_node = document["by_node"]
        sid = next((sid for sid in looked_at.nodes if sid in by_node), None)
        node = {} if sid is None else {"sid": sid, "methods": by_node[sid]}
        return {name: value for name, value in document.items() if name != "by_node"} | {"node": node}

    async def _ask(self, members: dict[SID, NodeAddress]) -> None:
        """Ask those members for their figures whose turn it is."""
        own = self.subject.sid
        asked = self._rounds.next_round(members, trio.current_time())
        replies = await self._replies({sid: members[sid] for sid in asked if sid != own})
        found = dict(replies.values)
        if own in asked:
            found[own] = bounded_figures(self.subject.figures())
        now = trio.current_time()
        for sid, figures in found.items():
            self._figures.setdefault(sid, FiguresOverTime()).add(figures)
            self._errors.pop(sid, None)
            self._rounds.note(sid, now, 0)
        for sid, error in replies.errors.items():
            self._errors[sid] = why(error, _WITHIN_S)
            self._rounds.note_failure(sid, now)
        self._figures = {sid: one for sid, one in self._figures.items() if sid in members and sid not in self._errors}
        self._errors = {sid: text for sid, text in self._errors.items() if sid in members}

    async def _replies(self, nodes: dict[SID, NodeAddress]) -> Replies[NodeFigures]:
        """Return the figures of some nodes."""
        comm = self.subject.local.comm
        request = comm.prepare([], {}, _FIGURES, depth=PACKETS)
        with trio.move_on_after(_WITHIN_S):
            return await collect(nodes, lambda node: comm.call(node, request), partial=True, convert=figures_of)
        return Replies({}, dict.fromkeys(nodes, CallTimeout("no answer")))
