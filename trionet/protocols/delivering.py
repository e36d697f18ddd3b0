"""The rumors of one node: it starts them, and accepts and delivers those of others.

Invariant: a rumor is delivered at most once, when it is accepted, and forwarded then, whatever the user makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import Notify
from .gossip_messages import ID_BYTES, Delivered, Rumor, Sent
from .rumors import Held, SeenIds, may_be_forgotten
from .tree_push import share_step

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from .comparing import Comparing
    from .effects import Effect
    from .forwarding import Forwarding
    from .gossip_settings import GossipCounts, GossipSettings
    from .push import Step
    from .rumors import RumorGroup
    from .spread import Tracking

__all__ = ["Delivering"]


class Delivering:
    """The rumors of one node.

    Attributes:
        seen: the ids of those that it has seen.
    """

    __slots__ = ("_comparing", "_counts", "_forwarding", "_groups", "_me", "_random", "_settings", "_tracking", "seen")

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
        self.seen: SeenIds = SeenIds(2 * settings.retention_s, settings.most_seen)
        self._counts = counts
        self._tracking = tracking
        self._comparing = comparing
        self._forwarding = forwarding
        self._random = random

    def send(self, gid: str, payload: bytes, now: float) -> Sent:
        """Start a rumor; see `GossipProtocol.send`."""
        group = self._groups[gid]
        rumor_id = self._random.getrandbits(8 * ID_BYTES).to_bytes(ID_BYTES, "big")
        self._counts.sent += 1
        self._tracking.begin(gid, rumor_id)
        step = group.push.begin(group.members, now)
        return Sent(
            rumor_id, self._accept(group, Held(gid, rumor_id, self._me, payload, now, now, step.hops), step, now)
        )

    def is_refused(self, rumor: Rumor, now: float) -> bool:
        """Return whether an unknown rumor is too old, or may have been seen and forgotten; if so, it is counted."""
        age_s = rumor.age_ms / 1000
        if age_s >= self._settings.retention_s:
            self._counts.expired += 1
            return True
        if may_be_forgotten(age_s, now - self.seen.forgotten_at):
            self._counts.refused += 1
            return True
        return False

    def receive(
        self, group: RumorGroup, source: str, rumor: Rumor, now: float, *, is_pulled: bool = False
    ) -> list[Effect]:
        """Accept an unknown rumor that `source` has sent."""
        age_s = rumor.age_ms / 1000
        if age_s > 2 * self._settings.settle_s:  # so late that others were probably missed, too
            self._comparing.hasten(self._settings.interval_s, now)
        if rumor.share:
            step = share_step(group.members, group.members.me, rumor.share, rumor.hops)
        else:
            step = group.push.step(group.members, source, rumor.hops, now)
        held = Held(rumor.gid, rumor.id, rumor.origin, rumor.payload, now - age_s, now, step.hops)
        held.source, held.is_pulled, held.copies, held.is_shared = source, is_pulled, 1, bool(rumor.share)
        return self._accept(group, held, step, now)

    def receive_share(self, rumor: Rumor, now: float) -> list[Effect]:
        """Forward a rumor that this node has had from elsewhere to the share that came with another copy, once."""
        group = self._groups.get(rumor.gid)
        held = None if group is None else group.held.get(rumor.id)
        if group is None or not isinstance(held, Held) or held.is_shared:
            return []
        held.is_shared = True
        step = share_step(group.members, group.members.me, rumor.share, rumor.hops)
        return self._forwarding.push(group, held, step, now)

    def share_again(self, rumor: Rumor, to: str, now: float) -> list[Effect]:
        """Send the share of `to`, which could not be reached, to its other members."""
        group = self._groups.get(rumor.gid)
        held = None if group is None else group.held.get(rumor.id)
        if group is None or held is None or not rumor.share:
            return []
        return self._forwarding.push(group, held, share_step(group.members, to, rumor.share, rumor.hops), now)

    def _accept(self, group: RumorGroup, held: Held, step: Step, now: float) -> list[Effect]:
        """Hold a rumor, deliver it, and forward it."""
        self.seen.add(held.id, now)
        group.add(held)
        effects: list[Effect] = []
        if group.members.is_member:
            self._counts.delivered += 1
            effects.append(Notify(Delivered(held.gid, held.id, held.origin, now - held.born_at, held.payload)))
        return effects + self._forwarding.forward(group, held, step, now)
