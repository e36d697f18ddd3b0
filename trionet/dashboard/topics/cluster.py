"""The topics ``cluster`` and ``details``: the members of the node's cluster, how others see them, and their figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.views import Views

from .base import Topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trionet.dashboard.glances import Glances
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.roster import Entry
    from trionet.dashboard.subject import Subject

__all__ = ["ClusterTopic", "DetailsTopic"]

_MOST_CHARS: Final = 200
_MOST_BY: Final = 8


class _GlancingTopic(Topic):
    """A topic with glances at the members."""

    needs_glances: ClassVar[bool] = True

    def __init__(self, subject: Subject, glances: Glances) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._glances = glances

    @classmethod
    def begin(cls, subject: Subject, glances: Glances) -> Topic:
        """Return the topic of a node; see `Topic.begin`."""
        return cls(subject, glances)


class ClusterTopic(_GlancingTopic):
    """``{self, cluster, now, members, views, more, views_more}``.

    ``members`` has by SID ``{address, status, incarnation, since, tags, version, by}``, where
    ``by`` has the SIDs of the nodes whose own probes failed; ``views`` has a key for each other member that has
    answered, and below it what that one sees otherwise; ``more`` is the number of members that are left out, and
    ``views_more`` that of differences.
    """

    name: ClassVar[str] = "cluster"

    def __init__(self, subject: Subject, glances: Glances) -> None:
        """Make the topic of a node."""
        super().__init__(subject, glances)
        self._rows: dict[str, tuple[Entry, str, dict[str, Any]]] = {}
        self._views = Views()

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        await trio.lowlevel.checkpoint()
        roster, latest = self._glances.roster.refresh(), self._glances.latest
        rows: dict[str, tuple[Entry, str, dict[str, Any]]] = {}
        for name, entry in roster.by_name.items():
            glance = latest.get(entry.sid)
            version = "" if glance is None or glance.answer is None else glance.answer.version
            row = self._rows.get(name)
            if row is None or row[0] is not entry or row[1] != version:
                row = entry, version, _shown(entry, version, roster.by_name)
            rows[name] = row
        self._rows = rows
        return {
            "self": self.subject.sid,
            "cluster": self.subject.config.cluster,
            "now": round(time.time(), 2),
            "members": {entry.sid: shown for entry, _, shown in rows.values()},
            "views": self._views.refresh(latest, roster, self.subject.sid),
            "more": roster.more or None,
            "views_more": self._views.left_out or None,
        }


def _shown(entry: Entry, version: str, entries: Mapping[str, Entry]) -> dict[str, Any]:
    member = entry.member
    by = [entries[name].sid for name in entry.info.suspected_by[:_MOST_BY] if name in entries]
    return {
        "address": str(member.node),
        "status": member.status,
        "incarnation": member.incarnation,
        "since": entry.since,
        "tags": {name[:_MOST_CHARS]: text[:_MOST_CHARS] for name, text in member.tags.items()},
        "version": version[:_MOST_CHARS] or None,
        "by": by or None,
    }


class DetailsTopic(_GlancingTopic):
    """``{SID: {rtt_ms, lag_ms, health, version, calls_per_s, running, links, uptime_s, heap_used, error}}``."""

    name: ClassVar[str] = "details"

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the rows in sight of all viewers; see `Topic.gather`."""
        await trio.lowlevel.checkpoint()
        latest = self._glances.latest
        return {sid: latest[sid].row() for sid in looked_at.of if sid in latest}

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return the rows in sight of one viewer; see `Topic.view`."""
        return {sid: document[sid] for sid in looked_at.of if sid in document}
