"""The assembling of nodes' reports into one tree of running calls.

The caller's node and the parent's id name a call's parent, because an id is the same at every member of a fan-out.

Invariants: every reported call is in the tree once, up to `MOST_ROWS`; a call whose parent is in no report is a root,
and so is one of each circle of forged parents; the same reports give the same tree; the time is that of a sort, however
ids and parents are forged. The reports of different nodes are
of slightly different moments, so that a call may be missing in one of two.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from trionet.call_tree import CallTree, RunningCall, WaitsFor, call_name
from trionet.errors import MalformedRequest
from trionet.identity import NodeAddress

from .call_reports import CallReport, NodeReport, RequestReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trionet.errors import TrionetError
    from trionet.identity import SID

__all__ = ["MOST_ROWS", "assemble"]

MOST_ROWS: Final = 20_000
"""The most calls in one tree."""

_KINDS: Final = frozenset({"thread", "credit", "code"})
_STATES: Final = frozenset({"connecting", "queued", "sent", "cancelled"})
_SLACK_S: Final = 0.5
"""How much later than its parent's a call's deadline may seem: it is counted from its arrival, on another clock."""


class _Row:
    """A reported call, and its place in the tree."""

    __slots__ = ("call", "children", "node", "parent", "root", "whose")

    def __init__(self, node: NodeAddress, call: CallReport) -> None:
        self.node = node
        self.call = call
        self.parent: _Row | None = None
        self.children: list[_Row] = []
        self.root = "made outside"
        self.whose = ""


def assemble(
    reports: Mapping[NodeAddress, NodeReport],
    errors: Mapping[SID, TrionetError] | None = None,
    without: Iterable[tuple[NodeAddress, str]] = (),
) -> CallTree:
    """Return the tree of the calls in the reports of nodes.

    Args:
        reports: the reports, by the nodes that gave them.
        errors: why other nodes gave none.
        without: the node and the id of calls to leave out: those that ask.
    """
    hidden = frozenset(without)
    rows = [
        _Row(node, call)
        for node, report in sorted(reports.items())
        for call in sorted(report.calls, key=_oldest_first)
        if (node, call.id) not in hidden
    ]
    omitted = sum(report.omitted for report in reports.values()) + max(0, len(rows) - MOST_ROWS)
    del rows[MOST_ROWS:]
    _join(rows, reports)
    details = _Details(rows, reports)
    calls = tuple(details.described(row, level) for row, level in _in_order(rows))
    return CallTree(calls=calls, errors=dict(errors or {}), nodes=len(reports), omitted=omitted)


def _oldest_first(call: CallReport) -> tuple[float, str]:
    return (-call.age_s if math.isfinite(call.age_s) else 0.0, call.id)


def _join(rows: list[_Row], reports: Mapping[NodeAddress, NodeReport]) -> None:
    """Set the parent and the children of each row."""
    known: dict[tuple[str, str], _Row] = {}
    for row in rows:
        known.setdefault((str(row.node), row.call.id), row)
    reported = {str(node) for node in reports}
    for row in rows:
        caller, parent = row.call.caller, row.call.parent
        if not parent:
            continue
        found = known.get((caller, parent))
        if found is None or found is row:
            row.root = "parent ended" if found is None and caller in reported else "parent unknown"
        else:
            row.parent = found
            found.children.append(row)


def _in_order(rows: list[_Row]) -> list[tuple[_Row, int]]:
    """Return the rows, each before its children, with its level; of each circle the first row becomes a root."""
    order: list[tuple[_Row, int]] = []
    seen: set[_Row] = set()
    roots = [row for row in rows if row.parent is None]
    for row in [*roots, *rows]:  # after all the trees, what is left are circles, with what hangs from them
        if row in seen:
            continue
        first = _on_circle(row)
        if first.parent is not None:
            first.parent, first.root = None, "parent unknown"
        pending = [(first, 0)]
        while pending:
            one, level = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            order.append((one, level))
            pending += [(child, level + 1) for child in reversed(one.children) if child not in seen]
    return order


def _on_circle(row: _Row) -> _Row:
    """Return the root above a row, or the row where it meets a circle."""
    passed: set[_Row] = set()
    while row.parent is not None and row not in passed:
        passed.add(row)
        row = row.parent
    return row


class _Details:
    """What is known of the calls besides their own reports."""

    def __init__(
        self,
        rows: list[_Row],
        reports: Mapping[NodeAddress, NodeReport],
    ) -> None:
        self._made: dict[tuple[str, str, str], RequestReport] = {}
        self._within: defaultdict[tuple[str, str], list[RequestReport]] = defaultdict(list)
        self._answers: dict[tuple[str, str], tuple[WaitsFor, ...]] = {}
        self._orphans = {(str(caller), node, id_) for caller, report in reports.items() for node, id_ in report.orphans}
        for node, report in sorted(reports.items()):
            for request in report.requests:
                self._made[str(node), request.node, request.id] = request
                if request.parent:
                    self._within[str(node), request.parent].append(request)
        for row in rows:  # a node's calls to itself
            call = row.call
            if call.parent and call.caller == str(row.node):
                state = "cancelled" if call.is_cancelled else "sent"
                own = RequestReport(
                    call.id, call.parent, call.caller, call.gid, call.service, call.method, state, call.is_own_deadline
                )
                self._within[call.caller, call.parent].append(own)

    def described(self, row: _Row, level: int) -> RunningCall:
        """Return the public description of a call; its parent's was made before."""
        call, node = row.call, str(row.node)
        left_s = None if call.left_s is None or not math.isfinite(call.left_s) else call.left_s
        row.whose = "" if left_s is None else self._whose_deadline(row, left_s)
        is_orphan = (call.caller, node, call.id) in self._orphans
        kinds: dict[str, Any] = {
            "state": "orphan" if is_orphan else "cancelled" if call.is_cancelled else "running",
            "root": "" if level else row.root,
        }
        return RunningCall(
            node=row.node,
            id=call.id,
            parent=call.parent,
            caller=_address(call.caller),
            gid=call.gid,
            service=call.service,
            method=call.method,
            principal=call.principal,
            age_s=call.age_s if math.isfinite(call.age_s) else 0.0,
            left_s=left_s,
            deadline_of=row.whose,
            waits_for=self._waits_for(row),
            level=level,
            **kinds,
        )

    def _whose_deadline(self, row: _Row, left_s: float) -> str:
        """Return the id of the call whose deadline holds for a call."""
        call, parent = row.call, row.parent
        if parent is None or not parent.whose:
            return call.id
        is_own = call.is_own_deadline
        if call.caller != str(row.node):
            made = self._made.get((call.caller, str(row.node), call.id))
            is_own = None if made is None else made.is_own_deadline
        if is_own is None:  # its caller's report is of another moment
            outer_s = parent.call.left_s
            is_own = outer_s is not None and left_s < outer_s - _SLACK_S
        return call.id if is_own else parent.whose

    def _waits_for(self, row: _Row) -> tuple[WaitsFor, ...]:
        call = row.call
        key = str(row.node), call.id
        if (answers := self._answers.get(key)) is None:  # calls may have the same id: those of strangers, all of them
            answers = self._answers[key] = self._awaited_calls(key)
        pauses = []
        for pause in sorted(set(call.pauses)):
            if pause.kind in _KINDS:
                kinds: dict[str, Any] = {"kind": pause.kind}
                pauses.append(WaitsFor(what=pause.place, **kinds))
        return (*answers, *pauses)

    def _awaited_calls(self, key: tuple[str, str]) -> tuple[WaitsFor, ...]:
        """Return the calls that a node makes within one with an id."""
        nodes: defaultdict[tuple[str, str], set[NodeAddress]] = defaultdict(set)
        for request in self._within.get(key, ()):
            address = _address(request.node)
            if address is not None and request.state in _STATES:
                nodes[call_name(request.gid, request.service, request.method), request.state].add(address)
        calls = []
        for (what, state), found in sorted(nodes.items()):
            kinds: dict[str, Any] = {"kind": "call", "state": state}
            calls.append(WaitsFor(what=what, nodes=tuple(sorted(found)), **kinds))
        return tuple(calls)


def _address(text: str) -> NodeAddress | None:
    try:
        return NodeAddress.of(text)
    except MalformedRequest:
        return None
