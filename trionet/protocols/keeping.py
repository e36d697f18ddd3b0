"""The entries of one node: it writes, merges, holds and forgets them (see `entries` for their order).

Invariants: an entry spreads as a rumor does, by push, announcements, pulls and comparisons. Each change of a map is
notified once, and each conflict to each node that receives both entries.

An entry that came by a pull is pushed on, too: after a partition one comparison across it starts an epidemic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .effects import Notify
from .entries import TOMBSTONE_S, Entry, EntryChanged, Put, is_valid
from .gossip_messages import ID_BYTES
from .hybrid_time import HybridClock, milliseconds
from .push import Step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from .comparing import Comparing
    from .effects import Effect
    from .forwarding import Forwarding
    from .gossip_settings import GossipCounts, GossipSettings
    from .rumors import RumorGroup
    from .spread import Tracking

__all__ = ["Keeping"]

_NO_STEP = Step((), 0)


class Keeping:
    """The entries of one node.

    Attributes:
        clock: its hybrid clock.
    """

    __slots__ = ("_comparing", "_counts", "_forwarding", "_groups", "_me", "_random", "_settings", "_tracking", "clock")

    def __init__(
        self,
        me: str,
        groups: Mapping[str, RumorGroup],
        settings: GossipSettings,
        counts: GossipCounts,
        tracking: Tracking,
        comparing: Comparing,
        forwarding: Forwarding,
        random: Random,
    ) -> None:
        self._me = me
        self._groups = groups
        self._settings = settings
        self._counts = counts
        self._tracking = tracking
        self._comparing = comparing
        self._forwarding = forwarding
        self._random = random
        self.clock: HybridClock = HybridClock()

    def put(self, gid: str, key: str, value: bytes | None, now: float, wall_ms: int) -> Put:
        """Write an entry; see `GossipProtocol.put`."""
        group = self._groups[gid]
        group.expire(now)
        group.entries.check_room(key, value)
        before = group.entries.by_key.get(key)
        entry = Entry(
            gid,
            self._random.getrandbits(8 * ID_BYTES).to_bytes(ID_BYTES, "big"),
            key,
            self.clock.next_stamp(wall_ms, now),
            0 if before is None else before.stamp,
            self._me,
            value,
        )
        self._counts.put += 1
        self._tracking.begin(gid, entry.id)
        effects = self._hold(group, entry, group.push.step(group.members, None, 0, now), now)
        return Put(entry.id, effects, entry)

    def merge(self, entry: Entry, now: float) -> list[Effect]:
        """Hold an entry that came by a call, and don't push it; see `GossipProtocol.merge`."""
        group = self._groups[entry.gid]
        if group.knows(entry.id):
            return []
        if not self._is_valid(entry):
            return []
        return self._hold(group, entry, _NO_STEP, now)

    def receive(self, group: RumorGroup, source: str, entry: Entry, now: float) -> list[Effect]:
        """Hold an unknown entry that `source` has sent, and push it on."""
        if not self._is_valid(entry):
            group.past.add(entry.id, now)
            return []
        if self.clock.ms(now) - milliseconds(entry.stamp) > 2000 * self._settings.settle_s:
            self._comparing.hasten(self._settings.interval_s, now)  # so late that others were probably missed, too
        return self._hold(group, entry, group.push.step(group.members, source, 0, now), now)

    def _is_valid(self, entry: Entry) -> bool:
        valid = is_valid(entry)
        self._counts.invalid += not valid
        return valid

    def _hold(self, group: RumorGroup, entry: Entry, step: Step, now: float) -> list[Effect]:
        """Merge an entry, and forward it if it holds."""
        self.clock.observe(entry.stamp, now)
        merged = group.merge(entry, now, self._expires_at(entry, now))
        self._counts.dropped += len(merged.dropped)
        effects: list[Effect] = []
        if merged.holds:
            effects.append(Notify(EntryChanged(group.gid, entry, merged.before)))
        if merged.conflict is not None:
            effects.append(Notify(merged.conflict))
        held = group.held.get(entry.id)
        return effects if held is None else effects + self._forwarding.forward(group, held, step, now)

    def _expires_at(self, entry: Entry, now: float) -> float:
        """Return when an entry is forgotten, on the clock of `now`."""
        if entry.value is not None:
            return math.inf
        return now + TOMBSTONE_S - (self.clock.ms(now) - milliseconds(entry.stamp)) / 1000
