"""What a node answers to those who ask for rumors, or compare theirs with its own.

Invariant: whatever a question repeats, within one packet or in the next ones, its sender gets once for the while; see
`answered`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from . import anti_entropy
from .answered import Answered
from .gossip_messages import BUCKETS, Buckets, Listing, Summary, Want, split

if TYPE_CHECKING:
    from .effects import ProtocolMessage
    from .gossip_settings import GossipCounts, GossipSettings
    from .rumors import RumorGroup

__all__ = ["Answering"]


class Answering:
    """The answers of one node."""

    __slots__ = ("_answered", "_counts", "_settle_s")

    def __init__(self, settings: GossipSettings, counts: GossipCounts) -> None:
        """Begin; what is not answered, because it was a moment ago, is counted in `counts`."""
        # Who asks again because an answer was lost waits for twice as long.
        self._answered = Answered(settings.pull_timeout_s / 2)
        self._settle_s = settings.settle_s
        self._counts = counts

    def rumors(self, group: RumorGroup, source: str, message: Want, now: float) -> list[ProtocolMessage]:
        """Return the rumors that are asked for and held here."""
        found: list[ProtocolMessage] = []
        for rumor_id in split(message.ids):
            held = group.held.get(rumor_id)
            if held is not None and self._is_due(source, (group.gid, rumor_id), now, len(held.payload)):
                found.append(held.message(now))
        return found

    def differences(
        self, group: RumorGroup, source: str, message: Summary | Buckets, now: float
    ) -> list[ProtocolMessage]:
        """Return what to answer a step of a comparison with."""
        if not self._is_due(source, (type(message), group.gid), now):
            return []
        group.expire(now)
        if isinstance(message, Buckets):
            return [*anti_entropy.answer_buckets(group, message, self._settle_s, now)]
        answer = anti_entropy.answer_summary(group, message, self._settle_s, now)
        self._counts.differences += bool(answer)
        return [*answer]

    def missing(self, group: RumorGroup, source: str, message: Listing, now: float) -> list[bytes]:
        """Return the ids that the sender of a listing lacks; of each bucket once."""
        mask = 0
        for bucket in range(BUCKETS):
            if message.mask >> bucket & 1 and self._is_due(source, (Listing, group.gid, bucket), now):
                mask |= 1 << bucket
        if not mask:
            return []
        return anti_entropy.missing_from(group, msgspec.structs.replace(message, mask=mask), self._settle_s, now)

    def _is_due(self, source: str, key: tuple[object, ...], now: float, size: int = 0) -> bool:
        is_due = self._answered.is_due(source, key, now, size)
        self._counts.repeated += not is_due
        return is_due
