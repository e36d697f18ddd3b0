"""Invariants of a cluster as a whole: after faults all nodes see the same members, groups and rumors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from trionet.profiles import PROFILES
from trionet.protocols.gossip_settings import settings_for

from .invariants import Watch

if TYPE_CHECKING:
    from trionet import Node

    from .cluster import Simulation
    from .invariants import Violation
    from .trace import TraceEvent
    from .trials import Trial

__all__ = ["GossipReachesAll", "GroupsFollowRules", "MembershipConverges"]

_ALL: Final = "all"
_COMPARISONS: Final = 12
"""The number of anti-entropy rounds within which a rumor must reach all; some three suffice, without any push."""


class MembershipConverges(Watch):
    """Some time after the end of the last fault, each node that runs sees exactly those that run."""

    name = "membership_converges"

    def is_settled(self) -> bool:
        """Whether the cluster is converged."""
        return self.sim.is_converged()

    async def check(self) -> list[Violation]:
        """Return the nodes with wrong members."""
        sim = self.sim
        running = {node.sid: f"n{index}" for index, node in enumerate(sim.nodes) if sim.is_up(index)}
        for node in sim.up:
            seen = node.all.members()
            wrong = [f"doesn't see {name}" for sid, name in running.items() if sid not in seen]
            wrong += [f"still sees {address}" for sid, address in seen.items() if sid not in running]
            if wrong:
                name = running[node.sid]
                self.violated(f"{name} {' and '.join(wrong)}, {self.trial.settle_s:g} s after the last fault", name)
        return self.violations


class GroupsFollowRules(Watch):
    """After the last fault, once the cluster is whole, a group with a rule of tags holds the nodes with these tags."""

    name = "groups_follow_rules"

    def is_settled(self) -> bool:
        """Whether each group follows its rule."""
        return not self._differences()

    async def check(self) -> list[Violation]:
        """Return the groups that differ from their rules, unless the members differ, too."""
        for name, gid, text in self._differences() if self.sim.is_converged() else ():
            self.violated(f"the group {gid} of {name} {text}", name)
        return self.violations

    def _differences(self) -> list[tuple[str, str, str]]:
        """Return the names of nodes, their groups that differ from the rule, and how."""
        names = {node.sid: f"n{index}" for index, node in enumerate(self.sim.nodes) if self.sim.is_up(index)}
        tags = {member.sid: member.tags for node in self.sim.up for member in node.members() if member.sid == node.sid}
        found = []
        for node in self.sim.up:
            for gid, where in _tag_rules(node):
                held = node.group(gid).members()
                wrong = [sid for sid in tags if (sid in held) != (where.items() <= tags[sid].items())]
                text = ", ".join(f"{'holds' if sid in held else 'lacks'} {names[sid]}" for sid in wrong)
                text = text or ", ".join(f"holds {address}" for sid, address in held.items() if sid not in tags)
                if text:
                    found.append((names[node.sid], gid, f"{text}; the rule is {where}"))
        return found


def _tag_rules(node: Node) -> list[tuple[str, dict[str, str]]]:
    """Return the groups of a node with rules of tags: the result of a function may change without a change of tags."""
    rules = [(gid, node.local.groups.rule(gid)) for gid in node.local.groups.gids()]
    return [(gid, rule.where) for gid, rule in rules if rule is not None and isinstance(rule.where, dict)]


class GossipReachesAll(Watch):
    """A rumor reaches each node that runs at the end, if it does not expire before, and no node receives it twice.

    The first part concerns the group ``all``. It is judged if a node that runs at the end has the rumor, and if the
    rumor expires only well after the cluster has become whole again: never with the profile ``wan``. The second part
    concerns each run of a node, and any group.
    """

    name = "gossip_reaches_all"

    def __init__(self) -> None:
        super().__init__()
        self._born_at: dict[str, float] = {}
        self._nodes_with: dict[str, set[str]] = {}
        self._whole_since = math.inf

    @staticmethod
    def least_settle_s(profile: str) -> float:
        """Return the least quiet time in which the first part can be judged, in seconds; 0 if it never is."""
        settings = settings_for(PROFILES[profile])
        spread_s = _COMPARISONS * settings.compare_interval_s
        return spread_s if spread_s < settings.retention_s else 0.0

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Compute the lifetime of rumors, and the error of clocks."""
        super().begin(sim, trial)
        settings = settings_for(PROFILES[sim.nodes[0].config.profile])
        self._lifetime_s = settings.retention_s
        self._spread_s = _COMPARISONS * settings.compare_interval_s
        self._clock_error_s = sum(fault.clock_error_s(trial.duration_s) for fault in trial.schedule())

    def take(self, event: TraceEvent) -> None:
        """Record which nodes have a rumor."""
        if event.kind == "state" and event.what == "NodeOpened":
            for nodes in self._nodes_with.values():
                nodes.discard(event.node)
        if event.kind != "rumor":
            return
        if event.what == _ALL:
            self._born_at.setdefault(event.detail, event.at)
        had_by = self._nodes_with.setdefault(event.detail, set())
        # A node drops the ids of seen rumors early if its clock is set ahead by more than their lifetime.
        if event.node in had_by and self._clock_error_s < self._lifetime_s:
            self.violated(f"the rumor {event.detail} came to {event.node} twice", event.node)
        had_by.add(event.node)

    def is_settled(self) -> bool:
        """Whether all rumors have reached all nodes."""
        sim = self.sim
        if not sim.is_converged():
            self._whole_since = math.inf
            return False
        self._whole_since = min(self._whole_since, sim.now)
        return not self._missing()

    def _missing(self) -> dict[str, list[str]]:
        """Return the rumors that must reach all nodes, with the nodes that don't have them."""
        running = [f"n{index}" for index in range(len(self.sim.nodes)) if self.sim.is_up(index)]
        oldest_at = self._whole_since + self._spread_s + self._clock_error_s - self._lifetime_s
        missing = {}
        for rumor, born_at in self._born_at.items():
            had_by = self._nodes_with[rumor]
            lacking = [name for name in running if name not in had_by]
            if born_at >= oldest_at and 0 < len(lacking) < len(running):
                missing[rumor] = lacking
        return missing

    async def check(self) -> list[Violation]:
        """Return the rumors that did not reach all nodes in time."""
        if self.sim.now >= self._whole_since + self._spread_s:
            for rumor, lacking in self._missing().items():
                self.violated(f"the rumor {rumor} has not come to {', '.join(lacking)}", *lacking)
        return self.violations
