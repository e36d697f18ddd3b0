"""Sends news in packets of its own, besides piggybacking it.

Invariant: while there is news, this node sends it to `gossip_nodes` members per gossip interval; less often only while
its timers are late, or in a large group if all news is of new members. News that is urgent never waits longer. A
leaving node goes on until its last statement has gone out often enough, or ten intervals are over.

Source: the gossip interval of HashiCorp's memberlist.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .effects import Notify
from .statements import State
from .swim_events import LeaveCompleted
from .swim_messages import News

if TYPE_CHECKING:
    from .member_record import MemberRecord
    from .statements import Statement
    from .swim_context import Context
    from .timers import Timer

__all__ = ["Broadcaster"]

_FIRST_SHARE: Final = 0.1
"""The longest wait for the first packet after an idle period, as a share of the interval."""

_WIDTH: Final = 2
_PROMPT_SHARE: Final = 0.5
"""News that can't wait goes to `_WIDTH` times as many members, in half the interval: nearly all have it after a few
hops, instead of a few intervals. The packets are as many in all, as each statement is sent equally often."""

_MANY: Final = 100
_MOST_TIMES: Final = 8.0
"""With more than `_MANY` members, news of new ones alone is repeated less often, in proportion to their number: nearly
all have it from the first packets, which are sent at once. When very many start, their news shares packets."""

_FEW_NEW: Final = 16
"""News of one more member waits for the slower pace only while that of more than so many is on its way."""

_LEAVE_INTERVALS: Final = 10
_LATE_TIMES: Final = 10
_MOST_INTERVALS: Final = 10
"""A node whose timer is late shares its processor with many. So it waits for `_LATE_TIMES` times as long as it was late
in addition, `_MOST_INTERVALS` at most: fewer packets, each with more news, until there is time again."""


class Broadcaster:
    """Sends the news of one node.

    Attributes:
        is_left: whether the leave of this node is complete.
    """

    __slots__ = ("_context", "_is_slow", "_is_wide", "_leave_ends_at", "_sent_at", "_timer", "is_left")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._timer: Timer | None = None
        self._is_wide = self._is_slow = False
        self._sent_at = -math.inf
        self._leave_ends_at = math.inf
        self.is_left: bool = False

    def put(self, statement: Statement, *, is_urgent: bool = False, is_new: bool = False) -> None:
        """Spread a statement, before all other news if it is urgent; `is_new`: the first one about its member."""
        self._context.news.put(statement, is_urgent=is_urgent, is_new=is_new)
        can_wait = is_new and self._context.news.new > _FEW_NEW
        if self._timer is not None and (is_urgent or (self._is_slow and not can_wait)):
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._is_slow = False
            self._send_after(self._context.profile.gossip_interval_s)

    def put_change(self, statement: Statement, *, is_new: bool) -> None:
        """Spread a statement that changes a member; a suspicion or failure at once, and to more members than others."""
        self.put(statement, is_new=is_new)
        if statement.state in (State.SUSPECT, State.DEAD) and not self._is_wide and self._timer is not None:
            self._is_wide = True
            self._timer.cancel()
            self._send_after(self._context.profile.gossip_interval_s * _PROMPT_SHARE)

    def _send_after(self, pause_s: float) -> None:
        """Send soon, but not within `pause_s` of the last time."""
        context = self._context
        soon = context.now + context.profile.gossip_interval_s * _FIRST_SHARE * context.random.random()
        self._timer = context.timers.set(max(soon, self._sent_at + pause_s), self._send)

    def _targets(self, count: int) -> list[MemberRecord]:
        """Return `count` members: the successor on the circle, and random ones; a random one if it is only one."""
        members = self._context.members
        after = members.trusted_on_circle() if count > 1 else None
        others = members.present.sample(count - (after is not None), without=after)
        return others if after is None else [after, *others]

    def leave(self) -> None:
        """Send now, and complete the leave once this node's own statement has been spread."""
        self._leave_ends_at = self._context.now + _LEAVE_INTERVALS * self._context.profile.gossip_interval_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # it is not late: this is earlier
        self._send()

    def _send(self) -> None:
        context = self._context
        late_s = 0.0 if self._timer is None else context.now - self._timer.when
        self._timer = None
        self._sent_at = context.now
        count = context.profile.gossip_nodes * (_WIDTH if self._is_wide else 1)
        self._is_wide = False
        for member in self._targets(count):
            context.send(member.name, News())
        is_spread = context.now >= self._leave_ends_at or context.me not in context.news or not context.members.present
        if context.is_leaving and is_spread and not self.is_left:
            self.is_left = True
            context.effects.append(Notify(LeaveCompleted()))
        if context.news.items and not self.is_left:
            self._is_slow = len(context.members) > _MANY and len(context.news.items) == context.news.new
            wait_s = context.profile.gossip_interval_s
            if self._is_slow:
                wait_s *= min(_MOST_TIMES, len(context.members) / _MANY)
            self._timer = context.after(wait_s + min(_LATE_TIMES * late_s, _MOST_INTERVALS * wait_s), self._send)
