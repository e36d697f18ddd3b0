"""The topic ``cluster``: the members of the node's cluster, and where others see them differently."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from .base import Topic

if TYPE_CHECKING:
    from trionet.dashboard.looked_at import LookedAt

__all__ = ["ClusterTopic"]


class ClusterTopic(Topic):
    """``{self, cluster, now, members: {SID: {address, status, incarnation, since, tags}}, views}``."""

    name: ClassVar[str] = "cluster"

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document; see `Topic.gather`."""
        del looked_at
        await trio.lowlevel.checkpoint()
        subject, now = self.subject, time.time()
        members = {
            one["sid"]: {
                "address": one["address"],
                "status": one["status"],
                "incarnation": one["incarnation"],
                "since": round(now - one["since_s"]),
                "tags": one["tags"],
            }
            for one in subject.local.inspection.members()
        }
        return {
            "self": subject.sid,
            "cluster": subject.config.cluster,
            "now": round(now),
            "members": members,
            "views": {},
        }
