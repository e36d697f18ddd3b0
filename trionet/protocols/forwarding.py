"""Forwarding: a new holder sends a rumor or an entry on, at once or in a batch, and announces it later.

Invariant: what is forwarded is held, so that those who only get its id can pull it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .effects import Send
from .gossip_messages import Ihave, chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .announcing import Announcing
    from .batches import Batches
    from .comparing import Comparing
    from .effects import Effect
    from .push import Step
    from .rumors import Held, HeldEntry, RumorGroup

__all__ = ["Forwarding"]


class Forwarding:
    """The forwarding of one node."""

    __slots__ = ("_announcing", "_batches", "_comparing", "_groups")

    def __init__(
        self, groups: Mapping[str, RumorGroup], batches: Batches, announcing: Announcing, comparing: Comparing
    ) -> None:
        self._groups = groups
        self._announcing = announcing
        self._comparing = comparing
        self._batches = batches

    def forward(self, group: RumorGroup, held: Held | HeldEntry, step: Step, now: float) -> list[Effect]:
        """Send what this node holds from now on to the targets of `step`; announce and compare it soon."""
        effects: list[Effect] = []
        if step.wait_s > 0:
            self._batches.add(held, step, now)
        else:
            if step.targets:
                effects += self.push(group, held, step, now)
            effects += [Send(to, Ihave(held.gid, held.id)) for to in step.announced_to]
        self._announcing.start(now)
        self._comparing.note_news(now)
        return effects

    def push(self, group: RumorGroup, held: Held | HeldEntry, step: Step, now: float) -> list[Effect]:
        """Send what this node holds to the targets of `step`, each with its share, if there are shares."""
        group.push.sent(step.targets, now)
        if step.shares:
            shared = zip(step.targets, step.shares, strict=True)
            return [Send(to, held.message(now, share)) for to, share in shared]
        message = held.message(now)
        return [Send(to, message) for to in step.targets]

    def send_batches(self, now: float) -> list[Effect]:
        """Send the batches that are due, each with an announcement of other recent rumors."""
        effects: list[Effect] = []
        for to, batch in self._batches.pop_due(now):
            effects += [Send(to, message) for message in batch.messages(now)]
            just_sent = {held.id: held.gid for held in (*batch.held, *batch.announced)}
            for gid in dict.fromkeys(just_sent.values()):
                group = self._groups.get(gid)
                if group is not None:
                    group.push.sent((to,), now)
                    ids = [one for one in self._announcing.recent(group, now) if one not in just_sent]
                    effects += [Send(to, Ihave(gid, part)) for part in chunks(ids)]
            self._announcing.remaining = max(0, self._announcing.remaining - 1)
        return effects
