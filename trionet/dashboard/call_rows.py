"""The rows of the tree of calls that the page draws, from nodes' reports.

A row is a running call, or a call on its way to a node that doesn't run it yet. Times are those of the serving node's
clock, so that the page lets them run by itself.

Invariants: every reported call has one row; each row comes after its parent, so that the first so many of them are
trees from the root, the oldest trees first; of each circle of forged parents one is a root. A time that was shown
stays, unless reports say clearly otherwise: a call that just goes on changes nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import MalformedRequest
from trionet.identity import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trionet.identity import SID
    from trionet.protocols.call_reports import CallReport, NodeReport, Pause, RequestReport

__all__ = ["Row", "call_rows", "key_of"]

Row = dict[str, Any]
"""A row, as the page gets it; what is usual is left out.

- ``node``: the SID of the node that runs it, or to which it is on its way;
- ``gid`` (left out for ``local``), ``service``, ``method``;
- ``state`` (left out while it runs): ``connecting``, ``queued`` or ``sent``: it is on its way; ``cancelling``: its
  caller has cancelled it, and its node doesn't know that yet; ``cancelled``: it has not ended yet; ``orphan``: its
  caller has cancelled it, and waits no longer;
- ``begun``, ``deadline``: when, in seconds since 1970; ``of`` (left out for its own): how many levels above the call is
  whose deadline that is;
- ``parent``: the key of the row above; or ``caller``: the SID of who has called it, without it a client that is no
  node, and ``within`` and ``root``: the id of its parent, and whether that has ``ended`` or is ``unknown``;
- ``by``: in whose name, if its caller doesn't say that;
- ``waits``: what it waits for, besides other calls.
"""

_LOCAL: Final = "local"
_ANYONE: Final = "anyone"
_NODE: Final = "node:"
_STATES: Final = frozenset({"connecting", "queued", "sent", "cancelled"})
_SAME_S: Final = 0.25
"""How much earlier a time has to be to be shown anew."""
_LATE_S: Final = 5.0
"""How late a report may come, at most."""
_SLACK_S: Final = 0.5
"""How much later than its parent's a call's deadline may seem."""
_MOST_WAITS: Final = 4
_MOST_CHARS: Final = 120


def key_of(sid: SID, call_id: str) -> str:
    """Return the key of a call's row: its id is the same at every member of a fan-out."""
    return f"{sid}:{call_id}"


def call_rows(reports: Mapping[NodeAddress, tuple[float, NodeReport]], before: Mapping[str, Row]) -> dict[str, Row]:
    """Return the rows of all reported calls, by key.

    Args:
        reports: when the report of each node came, in seconds since 1970, and the report.
        before: the rows that are shown now.
    """
    found = _Found({str(node): node.sid for node in reports})
    for node, (came_at, report) in sorted(reports.items()):
        for call in report.calls:
            found.add_call(node.sid, call, came_at, before)
    for node, (_, report) in sorted(reports.items()):
        for request in report.requests:
            found.add_request(str(node), node.sid, request)
        for callee, call_id in report.orphans:
            found.note_orphan(node.sid, callee, call_id)
    return dict(found.in_order())


class _Found:
    """The rows found so far, and what is known of each besides."""

    def __init__(self, sids: dict[str, SID]) -> None:
        self._sids = sids  # of the nodes that have reported, by address
        self._rows: dict[str, Row] = {}
        self._same: dict[str, int] = {}  # how many calls have the same id
        self._parents: dict[str, str] = {}
        self._is_own_deadline: dict[str, bool | None] = {}

    def add_call(self, sid: SID, call: CallReport, came_at: float, before: Mapping[str, Row]) -> None:
        """Add a call that runs on the node `sid`."""
        key = self._free(key_of(sid, call.id))
        row: Row = {"node": sid, "service": call.service, "method": call.method}
        if call.gid != _LOCAL:
            row["gid"] = call.gid
        if call.is_cancelled:
            row["state"] = "cancelled"
        _set_times(row, call, came_at, before.get(key, {}))
        if call.principal not in (_ANYONE, _NODE + call.caller):
            row["by"] = call.principal
        if call.pauses:
            row["waits"] = [_waits(one)[:_MOST_CHARS] for one in sorted(set(call.pauses))[:_MOST_WAITS]]
        self._put(key, row, call.caller, call.parent)
        self._is_own_deadline[key] = call.is_own_deadline if self._sids.get(call.caller) == sid else None

    def add_request(self, address: str, sid: SID, request: RequestReport) -> None:
        """Add a call that the node `sid` makes, or what its caller knows of a running one."""
        callee = self._sids.get(request.node) or _sid(request.node)
        if not callee or request.state not in _STATES:
            return
        key = key_of(callee, request.id)
        row = self._rows.get(key)
        if row is None:
            row = {"node": callee, "service": request.service, "method": request.method, "state": request.state}
            if request.gid != _LOCAL:
                row["gid"] = request.gid
            self._put(key, row, address, request.parent)
        elif row.get("caller") == sid:
            self._is_own_deadline[key] = request.is_own_deadline
            if request.state == "cancelled":
                row.setdefault("state", "cancelling")

    def note_orphan(self, sid: SID, callee: str, call_id: str) -> None:
        """Mark a call that the node `sid` has cancelled, and doesn't wait for."""
        row = self._rows.get(key_of(self._sids.get(callee) or _sid(callee), call_id))
        if row is not None and row.get("caller") == sid:
            row["state"] = "orphan"

    def _put(self, key: str, row: Row, caller: str, parent: str) -> None:
        self._rows[key] = row
        caller_sid = caller and (self._sids.get(caller) or _sid(caller))
        if caller_sid:
            row["caller"] = caller_sid
        if parent:
            row["within"] = parent
            row["root"] = "ended" if caller in self._sids else "unknown"
            self._parents[key] = key_of(caller_sid, parent)

    def _free(self, key: str) -> str:
        """Return a key that is not taken: the ids of clients that are no nodes may be the same."""
        if key not in self._rows:
            return key
        self._same[key] = number = self._same.get(key, 1) + 1
        return self._free(f"{key}#{number}")

    def in_order(self) -> Iterator[tuple[str, Row]]:
        """Yield all rows, each after its parent; the first of each circle becomes a root."""
        rows, seen = self._rows, set[str]()
        children: dict[str, list[str]] = {}
        roots: list[str] = []
        for key in rows:
            parent = self._parents.get(key)
            if parent is None or parent == key or parent not in rows:
                roots.append(key)
            else:
                children.setdefault(parent, []).append(key)
        roots.sort(key=lambda key: rows[key].get("begun", float("inf")))
        levels: dict[str, tuple[int, int]] = {}
        for first in (*roots, *rows):  # after all the trees, what is left are circles, with what hangs from them
            if first in seen:
                continue
            pending = [(first, "")]
            while pending:
                key, parent = pending.pop()
                if key in seen:
                    continue
                seen.add(key)
                self._finish(key, parent, levels)
                yield key, rows[key]
                pending += [(child, key) for child in reversed(children.get(key, ())) if child not in seen]

    def _finish(self, key: str, parent: str, levels: dict[str, tuple[int, int]]) -> None:
        """Say what a row's parent is, and whose its deadline; note its level, and that of whose deadline it is."""
        row = self._rows[key]
        if parent:
            row["parent"] = parent
            for name in ("caller", "within", "root"):
                row.pop(name, None)
        elif self._parents.get(key) in self._rows:
            row["root"] = "unknown"
        level, whose = levels.get(parent, (-1, -1))
        level += 1
        deadline = row.get("deadline")
        if deadline is None:
            whose = -1
        elif whose < 0 or self._is_own(key, deadline, self._rows[parent]["deadline"]):
            whose = level
        else:
            row["of"] = level - whose
        levels[key] = level, whose

    def _is_own(self, key: str, deadline: float, outer: float) -> bool:
        is_own = self._is_own_deadline.get(key)
        if is_own is None:  # its caller's report is of another moment
            return deadline < outer - _SLACK_S
        return is_own


def _set_times(row: Row, call: CallReport, came_at: float, before: Row) -> None:
    """Set the times of a row, as they were shown before, where they may be the same."""
    age_s = call.age_s if 0 <= call.age_s < came_at else 0.0
    row["begun"] = _same(round(came_at - age_s, 2), before.get("begun"))
    left_s = call.left_s
    if left_s is None or not left_s >= 0 or left_s == float("inf"):
        return
    shown = before.get("deadline")
    if left_s == 0 and shown is not None and shown <= came_at:  # it is over, since whenever
        row["deadline"] = shown
    else:
        row["deadline"] = _same(round(came_at + min(left_s, came_at), 2), shown)


def _same(time: float, shown: float | None) -> float:
    """Return the time to show: a report that comes late makes it later, and a much later one is of another call."""
    return shown if shown is not None and shown - _SAME_S <= time <= shown + _LATE_S else time


def _waits(pause: Pause) -> str:
    """Return what a task waits for, for people; see `trionet.call_tree.WaitsFor`."""
    if pause.kind == "credit":
        return "the reader of its items"
    place = pause.place or "an unknown place"
    return f"a thread, {place}" if pause.kind == "thread" else place


@lru_cache(maxsize=4096)
def _sid(address: str) -> SID:
    """Return the SID of an address; an empty text, if it is none."""
    try:
        return NodeAddress.of(address).sid
    except MalformedRequest:
        return ""
