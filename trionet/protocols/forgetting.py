"""When members that are gone are forgotten.

Invariant: there is one timer for all of them, so that a member that comes and goes for ever leaves nothing behind.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .swim_context import Context
    from .timers import Timer

__all__ = ["Forgetting"]


class Forgetting:
    """Forgets the members of one node, each after its time."""

    __slots__ = ("_context", "_timer")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._timer: Timer | None = None

    def plan(self) -> None:
        """Take that somebody has gone."""
        due = self._next_due()
        if self._timer is not None and due < self._timer.when:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due < math.inf:
            self._timer = self._context.timers.set(due, self._forget)

    def _next_due(self) -> float:
        options = self._context.options
        return self._context.members.next_forgotten(options.forget_failed_s, options.forget_left_s)

    def _forget(self) -> None:
        context = self._context
        self._timer = None
        while self._next_due() <= context.now:
            context.members.forget_next(context.options.forget_failed_s, context.options.forget_left_s)
        self.plan()
