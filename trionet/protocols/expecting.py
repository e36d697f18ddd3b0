"""Pings that are expected: a node that is pinged every interval notices when its pinger falls silent.

A regular ping says after how many intervals its sender pings this node again. If no such ping comes, this node probes
the sender. So each member is watched from two sides, by the node that pings it and by the one that it pings, and the
first of both finds its failure. At rest this takes no message.

Invariant: a ping that is late leads to one probe, and to nothing else; only a few members are believed at a time.

Source: ours. The heartbeats of a ring go back to Cristian's membership protocols (1991).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .probing import Prober
    from .swim_context import Context
    from .timers import Timer

__all__ = ["MOST_INTERVALS", "Expecting"]

MOST_INTERVALS: Final = 2
"""The longest time to the next ping that is believed; a longer one would keep this node from noticing anything soon."""

_LATE_SHARE: Final = 1 / 3
"""How late a ping may be, as a share of the probe timeout."""

_MOST_PINGERS: Final = 4
"""Mostly there is one; after a join there are two for an interval."""


class Expecting:
    """The pings that one node expects."""

    __slots__ = ("_context", "_prober", "_timers")

    def __init__(self, context: Context, prober: Prober) -> None:
        self._context = context
        self._prober = prober
        self._timers: dict[str, Timer] = {}

    def expect(self, source: str, intervals: int) -> None:
        """Handle a ping of `source`, which says that the next one comes within so many intervals."""
        timer = self._timers.pop(source, None)
        if timer is not None:
            timer.cancel()
        context = self._context
        if not 0 < intervals <= MOST_INTERVALS or context.members.get(source) is None or context.is_leaving:
            return
        if len(self._timers) >= _MOST_PINGERS:
            self._timers.pop(next(iter(self._timers))).cancel()
        self._prober.pinged_at = context.now
        profile = context.profile
        late_s = _LATE_SHARE * profile.probe_timeout_s * (context.awareness.score + 1)
        when = context.now + intervals * profile.probe_interval_s + late_s
        self._timers[source] = context.timers.set(when, self._miss, source)

    def postpone(self, lag_s: float) -> None:
        """Expect all pings later by `lag_s`, because this node stalled: some of them may have come."""
        for source, timer in self._timers.items():
            timer.cancel()
            self._timers[source] = self._context.timers.set(timer.when + lag_s, self._miss, source)

    def stop(self) -> None:
        """Expect nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _miss(self, source: str) -> None:
        """Probe a member that has fallen silent."""
        del self._timers[source]
        member = self._context.members.get(source)
        if member is not None and member.is_present:
            self._prober.probe(member)
