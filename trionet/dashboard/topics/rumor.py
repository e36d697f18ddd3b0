"""The topic ``rumor``: how a rumor reaches node after node, as these tell it themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trionet.errors import TrionetError
from trionet.nurseries import open_plain_nursery

from .asking import ask, cut
from .base import Topic
from .followed import Followed

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject

__all__ = ["RumorTopic"]

_MOST_LATEST: Final = 20
_MOST_FOLLOWED: Final = 4


class RumorTopic(Topic):
    """``{latest: {ID: rumor}, followed: {GID:ID: progress}}``; a viewer sees the one that it follows.

    ``latest`` has the rumors that this node holds. For ``progress`` see `Followed.document`.
    """

    name: ClassVar[str] = "rumor"

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        super().__init__(subject)
        self._followed: dict[str, Followed] = {}
        self._sent_at: dict[str, int] = {}

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        await trio.lowlevel.checkpoint()
        wanted = looked_at.rumors[:_MOST_FOLLOWED]
        self._followed = {name: self._followed.get(name) or Followed(*_split(name)) for name in wanted}
        async with open_plain_nursery() as nursery:
            for followed in self._followed.values():
                nursery.start_soon(self._follow, followed)
        return {
            "latest": self._latest(),
            "followed": {name: followed.document() for name, followed in self._followed.items()},
        }

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return the latest rumors, and the one that a viewer follows."""
        followed = {name: document["followed"][name] for name in looked_at.rumors if name in document["followed"]}
        return {"latest": document["latest"], "followed": followed}

    async def _follow(self, followed: Followed) -> None:
        """Ask the members that may know more than they have told."""
        local, now = self.subject.local, self.subject.current_time()
        if not followed.is_due(now):
            return
        try:
            members = local.groups.members(followed.gid)
            followed.note_members(members, self.subject.sid, self.subject.random)
            chosen = {sid: members[sid] for sid in followed.to_ask()}
            answers = await ask(self.subject, chosen, "inspection", "arrival", followed.gid, followed.id)
            followed.note_arrivals(answers.values, time.time(), self.subject.current_time())
            followed.note_errors({sid: cut(error) for sid, error in answers.errors.items()})
            followed.note_spread(local.gossip.spread(followed.gid, followed.id))
        except TrionetError as exc:
            followed.note_failure(exc)

    def _latest(self) -> dict[str, Any]:
        held = self.subject.local.inspection.rumors(_MOST_LATEST)
        now = time.time()
        self._sent_at = {
            one["id"]: self._sent_at.get(one["id"]) or round(now - one["since_s"] - one["age_s"]) for one in held
        }
        return {
            one["id"]: {
                "gid": cut(one["gid"]),
                "what": cut(f"{one['service']}/{one['method']}"),
                "origin": cut(one["origin"]),
                "sent": self._sent_at[one["id"]],
                "bytes": one["payload_bytes"],
            }
            for one in held
        }


def _split(name: str) -> tuple[str, str]:
    gid, _, rumor_id = name.rpartition(":")
    return gid, rumor_id
