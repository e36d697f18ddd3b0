"""The comparisons of one node: their schedule, and its answers (see `anti_entropy` for their content).

Invariants: while a node holds a rumor or an entry, it compares each group with a random member again and again: soon
after news, then at intervals that double up to `compare_interval_s`. A group with nothing held is compared every fourth
time only. A source gets each answer once per window, see `answered`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from . import anti_entropy
from .effects import Send
from .gossip_messages import BUCKETS, Buckets, Listing, Summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from .answered import Answered
    from .effects import Effect
    from .gossip_settings import GossipCounts, GossipSettings
    from .rumors import RumorGroup

__all__ = ["Comparing"]

_EMPTY_EVERY: Final = 4
_SHORTEST, _LONGEST = 0.75, 1.25
"""An interval is multiplied by a random number between these."""


class Comparing:
    """The comparisons of one node.

    Attributes:
        next_due: when the next one begins.
    """

    __slots__ = (
        "_answered",
        "_begun",
        "_counts",
        "_groups",
        "_interval_s",
        "_news_at",
        "_random",
        "_settings",
        "next_due",
    )

    def __init__(
        self,
        groups: Mapping[str, RumorGroup],
        settings: GossipSettings,
        counts: GossipCounts,
        answered: Answered,
        random: Random,
    ) -> None:
        self._answered = answered
        self._groups = groups
        self._settings = settings
        self._counts = counts
        self._random = random
        self._interval_s = settings.compare_interval_s
        self._news_at = -math.inf
        self._begun = 0
        self.next_due: float = math.inf

    def begin(self, now: float, interval_s: float | None) -> list[Effect]:
        """Begin a comparison in each group; the next is after about `interval_s`, or the doubled interval if None."""
        effects: list[Effect] = []
        for group in self._groups.values():
            group.expire(now)
            if not group.members.others():
                continue
            if _is_due(group) or self._begun % _EMPTY_EVERY == 0:
                is_new = group.first_comparisons > 0
                group.first_comparisons -= is_new
                self._counts.comparisons += 1
                summary = anti_entropy.summary(group, self._settings.settle_s, now, is_new=is_new)
                effects += [Send(to, summary) for to in group.members.pick(1)]
        self._begun += 1
        skipped = 0
        if interval_s is None:
            interval_s = self._interval_s
            if interval_s == self._settings.compare_interval_s and not any(map(_is_due, self._groups.values())):
                skipped = -self._begun % _EMPTY_EVERY  # nothing would be sent: a wake-up costs more than all it does
        self._begun += skipped
        self.next_due = now + (1 + skipped) * interval_s * self._about_one()
        self._interval_s = min(2 * self._interval_s, self._settings.compare_interval_s)
        return effects

    def begin_soon(self, now: float) -> None:
        """Begin the next comparison within an interval: a new member may have missed rumors and entries."""
        soon = now + self._random.random() * self._settings.interval_s
        self.next_due = min(self.next_due, soon)

    def hasten(self, interval_s: float, now: float) -> None:
        """Shorten the interval to `interval_s`, from which it doubles again."""
        if self._interval_s > interval_s:
            self._interval_s = interval_s
            self.next_due = min(self.next_due, now + interval_s * (1.0 + self._random.random()))

    def note_news(self, now: float) -> None:
        """Hasten the comparisons if a rumor came after an idle period; pass over no more of them."""
        if now - self._news_at > self._settings.compare_interval_s:
            self.hasten(2 * self._settings.interval_s, now)
        elif self.next_due - now > _LONGEST * self._interval_s:
            self.next_due = now + self._interval_s * self._about_one()
        self._news_at = now

    def _about_one(self) -> float:
        return _SHORTEST + (_LONGEST - _SHORTEST) * self._random.random()

    def answer(self, group: RumorGroup, source: str, message: Summary | Buckets, now: float) -> list[Effect]:
        """Answer the first or second step of another node's comparison."""
        if not self._answered.is_due(source, (type(message), group.gid), now):
            return []
        group.expire(now)
        settle_s = self._settings.settle_s
        answers: Sequence[Listing | Buckets]
        if isinstance(message, Summary):
            answers = anti_entropy.answer_summary(group, message, settle_s, now)
            self._counts.differences += bool(answers)
        else:
            answers = anti_entropy.answer_buckets(group, message, settle_s, now)
        return [Send(source, one) for one in answers]

    def missing(self, group: RumorGroup, source: str, message: Listing, now: float) -> list[bytes]:
        """Return the ids that the sender of a listing lacks, from each bucket once per window."""
        mask = 0
        for bucket in range(BUCKETS):
            if message.mask >> bucket & 1 and self._answered.is_due(source, (Listing, group.gid, bucket), now):
                mask |= 1 << bucket
        asked = msgspec.structs.replace(message, mask=mask)
        return anti_entropy.missing_from(group, asked, self._settings.settle_s, now) if mask else []


def _is_due(group: RumorGroup) -> bool:
    """Whether a group is compared each time."""
    return bool(group.held or group.first_comparisons)
