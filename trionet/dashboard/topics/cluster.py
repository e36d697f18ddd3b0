"""The topics ``cluster`` and ``details``: the members of the node's cluster, how others see them, and their figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.glances import seen_by

from .base import Topic

if TYPE_CHECKING:
    from trionet.dashboard.glances import Glances
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject
    from trionet.identity import SID
    from trionet.services.member import Member

__all__ = ["ClusterTopic", "DetailsTopic"]

MOST_MEMBERS: Final = 10_000
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
    """``{self, cluster, now, members: {SID: {address, status, incarnation, since, tags, by}}, views, more}``.

    ``by`` has the SIDs of the nodes whose own probes failed; ``views`` has a key for each other member that has
    answered, and below it what that one sees otherwise; ``more`` is the number of members that are left out.
    """

    name: ClassVar[str] = "cluster"

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        await trio.lowlevel.checkpoint()
        subject = self.subject
        every = subject.local.inspection.known_members()
        sids = {str(member.node): member.sid for member, _, _ in every}
        shown = {member.sid: self._member(member, since, by, sids) for member, since, by in every[:MOST_MEMBERS]}
        known = {str(member.node): (member.sid, member.status) for member, _, _ in every}
        views: dict[SID, dict[SID, str]] = {}
        for sid, glance in self._glances.latest.items():
            if sid != subject.sid and glance.answer is not None:
                views[sid] = seen_by(glance.answer, known)
        return {
            "self": subject.sid,
            "cluster": subject.config.cluster,
            "now": round(time.time(), 2),
            "members": shown,
            "views": views,
            "more": len(every) - len(shown) or None,
        }

    def _member(self, member: Member, since: float, by: tuple[str, ...], sids: dict[str, SID]) -> dict[str, Any]:
        glance = self._glances.latest.get(member.sid)
        answer = None if glance is None else glance.answer
        return {
            "address": str(member.node),
            "status": member.status,
            "incarnation": member.incarnation,
            "since": round(since),
            "tags": {name[:_MOST_CHARS]: text[:_MOST_CHARS] for name, text in member.tags.items()},
            "version": None if answer is None else answer.version[:_MOST_CHARS],
            "by": [sids[name] for name in by[:_MOST_BY] if name in sids] or None,
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
