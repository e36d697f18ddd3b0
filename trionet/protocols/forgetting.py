"""Forgets failed and left members after their time, or for room, and reports that.

Invariant: one timer serves all of them, so that a member that comes and goes for ever leaves no timers behind.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .effects import Notify
from .swim_events import MemberForgotten

if TYPE_CHECKING:
    from .effects import Effect
    from .swim_context import Context
    from .timers import Timer

__all__ = ["Forgetting"]


class Forgetting:
    """Forgets the members of one node, each after its time."""

    __slots__ = ("_context", "_timer")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._timer: Timer | None = None

    def forget(self, name: str, now: float) -> list[Effect]:
        """Forget a member that is gone, before its time."""
        context = self._context
        context.now = now
        context.members.forget(name)
        self._report()
        effects, context.effects = context.effects, []
        return effects

    def schedule(self) -> None:
        """Schedule the next one, after a member has gone; it may have taken the room of another."""
        self._report()
        due = self._context.members.next_forgotten()
        if self._timer is not None and due < self._timer.when:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due < math.inf:
            self._timer = self._context.timers.set(due, self._forget)

    def _forget(self) -> None:
        self._timer = None
        self._context.members.forget_until(self._context.now)
        self.schedule()

    def _report(self) -> None:
        context = self._context
        if context.members.forgotten:
            names, context.members.forgotten = context.members.forgotten, []
            context.effects.extend(Notify(MemberForgotten(name)) for name in names)
