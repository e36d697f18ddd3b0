"""The topic ``calls``: the tree of running calls of the cluster.

Invariants: a gathering asks `MOST_ASKED` members at most, and reads `MOST_READ` calls; making the rows takes no more
than one part in `_SPARE` of the time of the serving node; a document changes by `BYTES_PER_S` at most, however much the
cluster does.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.call_rows import Row, call_rows
from trionet.dashboard.ended_rows import EndedRows, Outcomes
from trionet.dashboard.paced_rows import paced
from trionet.dashboard.rounds import Rounds

from .base import Topic
from .reasons import why

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID, NodeAddress
    from trionet.protocols.call_reports import NodeReport

__all__ = ["BYTES_PER_S", "MOST_ASKED", "MOST_READ", "MOST_ROWS", "CallsTopic"]

MOST_ASKED: Final = 20
"""The members that are asked in one gathering."""
MOST_READ: Final = 2_000
"""The calls of each kind that are read in one gathering."""
MOST_ROWS: Final = 2_000
"""The calls that are shown."""
BYTES_PER_S: Final = 40_000
"""The changes of a second, on average."""
_BURST_BYTES: Final = 300_000
"""The first document may be so large: a thousand calls."""

_WITHIN_S: Final = 0.7
_LEAST_READ: Final = 50
_SILENT_S: Final = 60.0
"""How long the last report of a member that gives no more is shown."""
_SPARE: Final = 100


class CallsTopic(Topic):
    """The running calls of a cluster.

    The document: ``calls``: the rows, by key; see `trionet.dashboard.call_rows.Row`, and besides ``ended``, how a call
    has ended that is in no report any more (see `trionet.dashboard.ended_rows`), and ``silent``: its node gives no
    report any more; ``now``: when it was made, in seconds since 1970; ``nodes``: the addresses of their nodes, by SID;
    ``errors``: why members give no report, by SID; ``cut``: how many calls of a node are not in its report, by SID;
    ``total``: the running calls of all nodes; ``unseen``: those of them without a row; ``turn_s``: after how many
    seconds a member's turn to report comes again.
    """

    name: ClassVar[str] = "calls"

    def __init__(self, subject: Subject) -> None:
        """Gather the calls of the cluster of a node."""
        super().__init__(subject)
        self._rounds = Rounds(MOST_ASKED)
        self._reports: dict[NodeAddress, tuple[float, NodeReport]] = {}
        self._errors: dict[SID, str] = {}
        self._ended = EndedRows()
        self._outcomes = Outcomes()
        self._rows: dict[str, Row] = {}
        self._made_at, self._due_at = 0.0, 0.0
        self._budget = float(_BURST_BYTES)
        self._document: dict[str, Any] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        members = self.subject.local.groups.members("all")
        await self._ask(members)
        now = time.time()
        if trio.current_time() >= self._due_at:
            begun = time.perf_counter()
            self._document = self._made(members, now)
            self._due_at = trio.current_time() + (time.perf_counter() - begun) * _SPARE - 1
        return self._document

    async def _ask(self, members: dict[SID, NodeAddress]) -> None:
        """Ask those members for reports whose turn it is."""
        asked = self._rounds.next_round(members, trio.current_time())
        busy = sum(bool(report.calls or report.requests) for _, report in self._reports.values())
        most = max(_LEAST_READ, MOST_READ // max(1, busy if self._reports else len(asked)))
        nodes = {sid: members[sid] for sid in asked}
        found, errors = await self.subject.calls.reports(nodes, most=most, within_s=_WITHIN_S)
        now, wall = trio.current_time(), time.time()
        for node, (came_at, report) in found.items():
            self._reports[node] = wall - (now - came_at), report
            self._errors.pop(node.sid, None)
            self._rounds.note(node.sid, now, len(report.calls) + len(report.requests))
        for sid, error in errors.items():
            self._errors[sid] = why(error, _WITHIN_S)
            self._rounds.note_failure(sid, now)
        present = set(members.values())
        self._errors = {sid: text for sid, text in self._errors.items() if sid in members}
        self._reports = {
            node: one
            for node, one in self._reports.items()
            if node in present and (node.sid not in self._errors or wall - one[0] < _SILENT_S)
        }

    def _made(self, members: dict[SID, NodeAddress], now: float) -> dict[str, Any]:
        """Return a document of the reports."""
        self._budget = min(_BURST_BYTES, self._budget + BYTES_PER_S * max(0.0, min(60.0, now - self._made_at)))
        self._made_at = now
        cut = {node.sid: report.omitted for node, (_, report) in self._reports.items() if report.omitted}
        known = call_rows(self._reports, self._rows)
        gone = {key: row for key, row in self._rows.items() if key not in known and row["node"] not in cut}
        self._outcomes.note({node.sid: report.ends for node, (_, report) in self._reports.items()})
        self._ended.add(gone, members, self._outcomes, now)
        rows = dict(islice(known.items(), MOST_ROWS))
        for row in rows.values():
            if row["node"] in self._errors:
                row["silent"] = True
        self._rows, spent = paced(self._rows, rows | self._ended.shown(known, now), self._budget)
        self._budget -= spent
        total = sum(len(report.calls) for _, report in self._reports.values()) + sum(cut.values())
        shown = sum("ended" not in row for row in self._rows.values())
        sids: set[SID] = {row[name] for row in self._rows.values() for name in ("node", "caller") if name in row}
        document = {
            "calls": self._rows,
            "nodes": {sid: str(members[sid]) for sid in sorted({*sids, *self._errors, *cut} & members.keys())},
            "errors": dict(self._errors),
            "cut": cut,
            "total": total,
            "unseen": max(0, len(known) + sum(cut.values()) - shown),
            "turn_s": -(-len(members) // MOST_ASKED),
        }
        if document == {name: value for name, value in self._document.items() if name != "now"}:
            return self._document
        return document | {"now": round(now, 2)}
