"""Two promises of a cluster as a whole: once it can, it agrees on who is there, and on what has been said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from trionet.profiles import PROFILES
from trionet.protocols.gossip_settings import settings_for

from .invariants import Watch

if TYPE_CHECKING:
    from .cluster import Simulation
    from .invariants import Violation
    from .trace import TraceEvent
    from .trials import Trial

__all__ = ["GossipReachesAll", "MembershipConverges"]

_ALL: Final = "all"
_COMPARISONS: Final = 12
"""How often each node compares what it holds before a rumor must have come through: push, and each of them but some
three, are to spare."""


class MembershipConverges(Watch):
    """Some time after the last fault is over, each node that runs sees exactly those that run."""

    name = "membership_converges"

    def is_settled(self) -> bool:
        """Whether it is so."""
        return self.sim.is_converged()

    async def check(self) -> list[Violation]:
        """Return who sees others than there are."""
        sim = self.sim
        running = {node.sid: f"n{index}" for index, node in enumerate(sim.nodes) if sim.is_up(index)}
        for node in sim.up:
            seen = node.all.members()
            said = [f"doesn't see {name}" for sid, name in running.items() if sid not in seen]
            said += [f"still sees {address}" for sid, address in seen.items() if sid not in running]
            if said:
                name = running[node.sid]
                self.violated(f"{name} {' and '.join(said)}, {self.trial.settle_s:g} s after the last fault", name)
        return self.violations


class GossipReachesAll(Watch):
    """A rumor comes to each node that runs in the end, where it lives for long enough; and to none of them twice.

    The first part is about the group ``all``. It is asked for where a node that runs in the end has the rumor, and its
    time to live is over only well after the cluster has become whole again: never with the profile ``wan``. The second
    part is about each life of a node, and any group.
    """

    name = "gossip_reaches_all"

    def __init__(self) -> None:
        super().__init__()
        self._born_at: dict[str, float] = {}
        self._had_by: dict[str, set[str]] = {}
        self._whole_since = math.inf

    @staticmethod
    def least_settle_s(profile: str) -> float:
        """Return how long a quiet time must last for the first part to be asked for; 0 where it never is."""
        settings = settings_for(PROFILES[profile])
        spread_s = _COMPARISONS * settings.compare_interval_s
        return spread_s if spread_s < settings.retention_s else 0.0

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Take how long rumors live, and by how much clocks are going to be wrong."""
        super().begin(sim, trial)
        settings = settings_for(PROFILES[sim.nodes[0].config.profile])
        self._lives_s = settings.retention_s
        self._spread_s = _COMPARISONS * settings.compare_interval_s
        self._clock_error_s = sum(fault.clock_error_s(trial.duration_s) for fault in trial.schedule())

    def take(self, event: TraceEvent) -> None:
        """Note who has which rumor."""
        if event.kind == "state" and event.what == "NodeOpened":
            for nodes in self._had_by.values():
                nodes.discard(event.node)
        if event.kind != "rumor":
            return
        if event.what == _ALL:
            self._born_at.setdefault(event.detail, event.at)
        had_by = self._had_by.setdefault(event.detail, set())
        # A clock that is set ahead by more than the record keeps lets a node forget what it has seen.
        if event.node in had_by and self._clock_error_s < self._lives_s:
            self.violated(f"the rumor {event.detail} came to {event.node} twice", event.node)
        had_by.add(event.node)

    def is_settled(self) -> bool:
        """Whether all rumors have come through that are to."""
        sim = self.sim
        if not sim.is_converged():
            self._whole_since = math.inf
            return False
        self._whole_since = min(self._whole_since, sim.now)
        return not self._missing()

    def _missing(self) -> dict[str, list[str]]:
        """Return the rumors that are to reach all, and whom they haven't reached."""
        running = [f"n{index}" for index in range(len(self.sim.nodes)) if self.sim.is_up(index)]
        oldest_at = self._whole_since + self._spread_s + self._clock_error_s - self._lives_s
        missing = {}
        for rumor, born_at in self._born_at.items():
            had_by = self._had_by[rumor]
            lacking = [name for name in running if name not in had_by]
            if born_at >= oldest_at and 0 < len(lacking) < len(running):
                missing[rumor] = lacking
        return missing

    async def check(self) -> list[Violation]:
        """Return what has not come through, though there was time for it."""
        if self.sim.now >= self._whole_since + self._spread_s:
            for rumor, lacking in self._missing().items():
                self.violated(f"the rumor {rumor} has not come to {', '.join(lacking)}", *lacking)
        return self.violations
