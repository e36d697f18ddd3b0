"""Lazy push: holders announce the ids of recent rumors, so that a node that push missed can pull them.

Invariant: an id is announced for `rounds` intervals after the rumor came, to `nodes` members per interval; ids that are
piggybacked count among these. With nothing recent, nothing is sent.

Where push normally reaches everybody, a rumor that had to be pulled is a sign of losses: then all intervals are shorter
for a while, so that this node catches up.

Source: the IHAVE of Plumtree (Leitao, Pereira, Rodrigues 2007).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .effects import Send
from .gossip_messages import ID_BYTES, IDS_PER_MESSAGE, Ihave, chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from .effects import Effect, ProtocolMessage
    from .gossip_settings import GossipSettings
    from .rumors import RumorGroup

__all__ = ["Announcing"]

_SMALLEST_BYTES: Final = 64
_HEAD_BYTES: Final = 16
"""The size of an `Ihave` without gid and ids, at most."""

_CATCH_UP_INTERVALS: Final = 25
_CATCH_UP_GRACES: Final = 4
_CATCH_UP_GRACE_INTERVALS: Final = 4


class Announcing:
    """The announcements of one node.

    Attributes:
        next_due: when ids are announced next; ``math.inf`` while there is nothing recent.
        remaining: how many members may still get an announcement in this interval.
        catch_up_until: until when the intervals are shorter.
        short_grace_s: the grace period until then: an announced rumor was probably lost on its way here.
    """

    __slots__ = ("_groups", "_random", "_settings", "catch_up_until", "next_due", "remaining", "short_grace_s")

    def __init__(self, groups: Mapping[str, RumorGroup], settings: GossipSettings, random: Random) -> None:
        self._groups = groups
        self._settings = settings
        self._random = random
        self.catch_up_until: float = -math.inf
        self.next_due: float = math.inf
        self.remaining: int = settings.nodes
        self.short_grace_s: float = min(settings.grace_s, _CATCH_UP_GRACE_INTERVALS * settings.catch_up_interval_s)

    def recent(self, group: RumorGroup, now: float) -> list[bytes]:
        """Return the ids that are still announced, the latest first."""
        settings = self._settings
        return [held.id for held in group.received_since(now - settings.rounds * settings.interval_s)]

    def start(self, now: float) -> None:
        """Schedule the first announcement after an idle period; no change if there is a next one already."""
        if self.next_due == math.inf:
            self.next_due = now + self._settings.interval_s * (0.1 + 0.2 * self._random.random())

    def catch_up(self, now: float) -> float:
        """Shorten the intervals for a while; return when the first of them ends."""
        interval_s = self._settings.catch_up_interval_s
        self.catch_up_until = now + _CATCH_UP_INTERVALS * interval_s + _CATCH_UP_GRACES * self._settings.grace_s
        soon = now + interval_s * (0.75 + 0.5 * self._random.random())
        self.next_due = min(self.next_due, soon)
        return soon

    def catch_up_interval_s(self, now: float) -> float | None:
        """Return the interval that holds while this node catches up; else None."""
        return self._settings.catch_up_interval_s if now < self.catch_up_until else None

    def announce(self, now: float) -> list[Effect]:
        """Announce recent ids to a few members of each group."""
        effects: list[Effect] = []
        is_active = False
        for group in self._groups.values():
            ids = self.recent(group, now)
            if ids:
                is_active = True
                messages = [Ihave(group.gid, part) for part in chunks(ids)]
                targets = group.push.neighbours(group.members, self.remaining, now)
                group.push.sent(targets, now)
                effects += [Send(to, message) for to in targets for message in messages]
        self.remaining = self._settings.nodes
        interval_s = self.catch_up_interval_s(now) or self._settings.interval_s
        self.next_due = now + interval_s if is_active else math.inf
        return effects

    def piggyback(self, to: str, room_bytes: int, now: float) -> Sequence[ProtocolMessage]:
        """Return announcements for a packet to `to`, of at most `room_bytes`; a random sample of the ids if need be."""
        if room_bytes < _SMALLEST_BYTES or not self.remaining:
            return ()
        found: list[ProtocolMessage] = []
        for group in self._groups.values():
            ids = self.recent(group, now)
            head_bytes = len(group.gid.encode()) + _HEAD_BYTES
            room = min((room_bytes - head_bytes) // ID_BYTES, IDS_PER_MESSAGE)
            if ids and room > 0 and to in group.members:
                ids = ids if len(ids) <= room else self._random.sample(ids, room)
                found.append(Ihave(group.gid, b"".join(ids)))
                room_bytes -= len(ids) * ID_BYTES + head_bytes
        if found:
            self.remaining -= 1
        return found
