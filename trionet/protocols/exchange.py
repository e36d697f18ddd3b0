"""The exchange of ids between holders: announcements, listings, and the pulls that follow.

Invariant: only ids that this node has not seen are pulled, and only what it holds is sent.

Source: the IHAVE and GRAFT of Plumtree (Leitao, Pereira, Rodrigues 2007); Demers et al. 1987, section 1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .effects import Send
from .gossip_messages import ID_BYTES, Buckets, Ihave, Listing, Summary, Want, chunks, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from .announcing import Announcing
    from .answered import Answered
    from .comparing import Comparing
    from .effects import Effect
    from .gossip_settings import GossipSettings
    from .pulls import Pulls
    from .rumors import RumorGroup, SeenIds
    from .spread import Tracking

__all__ = ["Exchange"]


class Exchange:
    """The exchange of one node with others."""

    __slots__ = ("_announcing", "_answered", "_comparing", "_pulls", "_seen", "_settings", "_tracking")

    def __init__(
        self,
        settings: GossipSettings,
        seen: SeenIds,
        pulls: Pulls,
        tracking: Tracking,
        announcing: Announcing,
        comparing: Comparing,
        answered: Answered,
    ) -> None:
        self._settings = settings
        self._seen = seen
        self._pulls = pulls
        self._tracking = tracking
        self._announcing = announcing
        self._comparing = comparing
        self._answered = answered

    def receive(self, group: RumorGroup, source: str, message: Any, now: float) -> list[Effect]:
        """Handle a message about ids: `Ihave`, `Want`, `Summary`, `Buckets` or `Listing`."""
        return self._handlers[type(message)](self, group, source, message, now)

    def pull(self, now: float) -> list[Effect]:
        """Request what is due."""
        effects: list[Effect] = []
        for (to, gid), wanted in self._pulls.due(now).items():
            effects += [Send(to, Want(gid, ids)) for ids in chunks(wanted)]
        return effects

    def has_seen(self, group: RumorGroup | None, one: bytes) -> bool:
        """Return whether this node has seen a rumor or an entry of a group."""
        return one in self._seen.seen_at or (group is not None and group.knows(one))

    def _receive_ihave(self, group: RumorGroup, source: str, message: Ihave, now: float) -> list[Effect]:
        ids = message.ids
        if len(ids) == ID_BYTES and ids in self._seen.seen_at and ids not in self._tracking.by_id:
            return []  # it is mostly one that this node has
        announcing = self._announcing
        wait_s = self._settings.grace_s if now >= announcing.catch_up_until else announcing.short_grace_s
        return self._want(source, group, ids, now, wait_s)

    def _want(self, source: str, group: RumorGroup, ids: bytes, now: float, wait_s: float) -> list[Effect]:
        """Pull, after `wait_s`, the unseen ones of those that `source` holds."""
        seen_at, tracked = self._seen.seen_at, self._tracking.by_id
        for one in (ids,) if len(ids) == ID_BYTES else split(ids):
            if one not in seen_at and not group.knows(one):
                self._pulls.announced(group.gid, one, source, now + wait_s)
            elif one in tracked:
                self._tracking.note(one, source)
        return self.pull(now) if wait_s <= 0 else []

    def _receive_want(self, group: RumorGroup, source: str, message: Want, now: float) -> list[Effect]:
        found: list[Effect] = []
        for one in split(message.ids):
            held = group.held.get(one)
            if held and self._answered.is_due(source, (group.gid, one), now, held.size_bytes()):
                found.append(Send(source, held.message(now)))
        return found

    def _receive_comparison(
        self, group: RumorGroup, source: str, message: Summary | Buckets, now: float
    ) -> list[Effect]:
        return self._comparing.answer(group, source, message, now)

    def _receive_listing(self, group: RumorGroup, source: str, message: Listing, now: float) -> list[Effect]:
        missing = self._comparing.missing(group, source, message, now)
        if missing or any(not self.has_seen(group, one) for one in split(message.ids)):
            self._comparing.hasten(self._settings.interval_s, now)  # there are probably more, at others too
        effects: list[Effect] = [Send(source, Ihave(message.gid, ids)) for ids in chunks(missing)]
        return effects + self._want(source, group, message.ids, now, 0.0)

    # One table for all nodes of a process: with many nodes, one each would not stay in the processor's cache.
    _handlers: ClassVar[dict[type, Callable[[Any, RumorGroup, str, Any, float], list[Effect]]]] = {
        Ihave: _receive_ihave,
        Want: _receive_want,
        Summary: _receive_comparison,
        Buckets: _receive_comparison,
        Listing: _receive_listing,
    }
