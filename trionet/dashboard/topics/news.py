"""The topic ``news``: the latest joins, suspicions and deaths, as this node has learned of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.dashboard.views import sid_of

from .base import Topic

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject

__all__ = ["NewsTopic"]

_MOST_NEWS: Final = 200

_KINDS: Final = {
    "MemberJoined": "joined",
    "MemberSuspected": "suspect",
    "MemberTrusted": "refuted",
    "MemberFailed": "failed",
    "MemberLeft": "left",
    "MemberUpdated": "updated",
    "MemberForgotten": "forgotten",
    "ChildEnded": "child ended",
    "ChildRestarted": "child restarted",
    "ChildGivenUp": "child given up",
}
"""What is news, by the name of the event's class."""


class NewsTopic(Topic):
    """``{NUMBER: {time, kind, sid, address, incarnation, by}}``; ``by`` are the SIDs of those whose probes failed."""

    name: ClassVar[str] = "news"

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._latest = 0
        self._document: dict[str, Any] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        await trio.lowlevel.checkpoint()
        every = self.subject.local.inspection.numbered_events()
        latest = every[-1][0] if every else 0
        if latest != self._latest:
            self._latest, self._document = latest, self._made(every)
        return self._document

    def _made(self, every: list[tuple[int, dict[str, Any], tuple[str, ...]]]) -> dict[str, Any]:
        news = [one for one in every if one[1]["event"] in _KINDS]
        return {
            str(number): {
                "time": round(one["time"], 3),
                "kind": _KINDS[one["event"]],
                "sid": one["sid"],
                "address": one["node"],
                "incarnation": one.get("incarnation"),
                "by": [sid for name in by if (sid := sid_of(name))] or None,
            }
            for number, one, by in news[-_MOST_NEWS:]
        }
