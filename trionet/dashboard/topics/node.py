"""The topic ``node``: one node in full, by its own report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.bounded import bounded
from trionet.errors import TrionetError
from trionet.message import Remote
from trionet.nesting import PACKETS
from trionet.nurseries import open_plain_nursery
from trionet.services.groups import ALL

from .base import Topic

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID

__all__ = ["NodeTopic"]

_EVERY_S: Final = 2.0
"""The time between two reports of a node: each of it costs that node some milliseconds."""

_PORTRAIT: Final = Remote(service="inspection", method="portrait")
_WITHIN_S: Final = 0.8
_MOST_VALUES: Final = 8_000
_MOST_CHARS: Final = 400
_PARTS: Final = ("status", "config", "tags", "statistics", "links", "children", "log", "tasks")


class NodeTopic(Topic):
    """``{sid, address, status, config, tags, statistics, links, children, log, log_note, tasks, error}``, by SID."""

    name: ClassVar[str] = "node"

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._latest: dict[SID, tuple[float, dict[str, Any]]] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the reports of the nodes that are looked at, by SID; see `Topic.gather`."""
        self._latest = {sid: self._latest[sid] for sid in looked_at.nodes if sid in self._latest}
        now = trio.current_time()
        due = [
            sid for sid in looked_at.nodes if sid not in self._latest or now >= self._latest[sid][0] + _EVERY_S - 0.1
        ]
        async with open_plain_nursery() as nursery:
            for sid in due:
                nursery.start_soon(self._ask, sid)
        return {sid: document for sid, (_, document) in self._latest.items()}

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return the report of the node that a viewer looks at; see `Topic.view`."""
        found: dict[str, Any] | None = document.get(looked_at.nodes[0]) if looked_at.nodes else {}
        return found

    async def _ask(self, sid: SID) -> None:
        comm, now = self.subject.local.comm, trio.current_time()
        node = self.subject.local.groups.members(ALL).get(sid)
        before = self._latest.get(sid, (0.0, {}))[1]
        found = {**before, "sid": sid, "address": None if node is None else str(node)}
        found.pop("error", None)
        if node is None:
            self._latest[sid] = now, {**found, "error": "this node knows no present member with this SID"}
            return
        report: Any = None
        error = f"no answer within {_WITHIN_S:g} s"
        with trio.move_on_after(_WITHIN_S):
            try:
                report = await comm.call_unrecorded(node, comm.prepare([], {}, _PORTRAIT, depth=PACKETS))
            except TrionetError as exc:
                error = f"{type(exc).__name__}: {exc.text}"[:_MOST_CHARS]
        if isinstance(report, dict):
            parts = {name: report[name] for name in _PARTS if isinstance(report.get(name), dict)}
            found |= bounded(parts, _MOST_VALUES, _MOST_CHARS)
            found["log_note"] = bounded(report.get("log_note"), 1, _MOST_CHARS) or None
        else:
            found["error"] = error
        self._latest[sid] = now, found
