"""The kinds of faults.

Faults of one kind that overlap compose: a node is paused while any fault pauses it, lags add up, and the rates of
clocks multiply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .fault import Fault
from .fields import Chance, Flag, NodeIndex, NodeIndexes, Positive, Seconds, Sides
from .latencies import exponential
from .rules import cut, delay, impair, only, partition

if TYPE_CHECKING:
    from trionet.identity import NodeAddress
    from trionet.transports.memory.rules import Rule

    from .cluster import Simulation, Undo

__all__ = ["Crash", "Degrade", "Isolate", "Leave", "OneWay", "Partition", "Pause", "Ring", "Skew", "Slow"]

_NAMED: Final = 4


class Partition(Fault, frozen=True, kw_only=True, tag="partition"):
    """No message passes from one side to another.

    Attributes:
        sides: the nodes of each side.
    """

    sides: Sides

    def begin(self, sim: Simulation) -> Undo:
        """Cut the sides off from each other."""
        return _ruled(sim, partition(*(sim.addresses(side) for side in self.sides)))

    @property
    def label(self) -> str:
        """The fault in a few words."""
        return f"{self.title} {' | '.join(map(_named, self.sides))}"


class OneWay(Fault, frozen=True, kw_only=True, tag="one_way"):
    """No message passes from `sources` to `targets`; messages of the other direction do."""

    sources: NodeIndexes
    targets: NodeIndexes

    def begin(self, sim: Simulation) -> Undo:
        """Cut one direction."""
        return _ruled(sim, cut(sim.addresses(self.sources), sim.addresses(self.targets)))

    @property
    def title(self) -> str:
        """The kind, in a word or two."""
        return "one-way cut"

    @property
    def label(self) -> str:
        """The fault in a few words."""
        return f"{self.title} {_named(self.sources)} to {_named(self.targets)}"


class Ring(Fault, frozen=True, kw_only=True, tag="ring"):
    """Each node reaches only its two neighbours."""

    def begin(self, sim: Simulation) -> Undo:
        """Cut all but neighbours."""
        nodes = sim.addresses(range(len(sim.nodes)))
        place = {node: index for index, node in enumerate(nodes)}

        def is_far(one: NodeAddress, other: NodeAddress) -> bool:
            if one not in place or other not in place:
                return False
            return (place[one] - place[other]) % len(nodes) not in (0, 1, len(nodes) - 1)

        return _ruled(sim, lambda message, _: float("inf") if is_far(message.source, message.target) else None)


class Isolate(Fault, frozen=True, kw_only=True, tag="isolate"):
    """One node reaches no other, and no other reaches it."""

    node: NodeIndex

    def begin(self, sim: Simulation) -> Undo:
        """Cut it off."""
        others = [index for index in range(len(sim.nodes)) if index != self.node]
        return _ruled(sim, partition(sim.addresses([self.node]), sim.addresses(others)))


class Degrade(Fault, frozen=True, kw_only=True, tag="degrade"):
    """The network is worse, for messages from or to some nodes.

    Attributes:
        nodes: which nodes; None for all.
        loss, duplicates, reordered: chances, from 0 to 1.
        reordered_by_s: the most by which a reordered datagram is later, in seconds.
        latency_s: the mean latency, in place of the network's own; None leaves that.
        bytes_per_s: the bandwidth from one node to another; None is no limit.
    """

    nodes: NodeIndexes | None = None
    loss: Chance = 0.0
    duplicates: Chance = 0.0
    reordered: Chance = 0.0
    reordered_by_s: Seconds = 0.2
    latency_s: Seconds | None = None
    bytes_per_s: Positive | None = None

    def begin(self, sim: Simulation) -> Undo:
        """Add the rules."""
        rules = impair(self.loss, self.duplicates, self.reordered, self.reordered_by_s, self.bytes_per_s)
        if self.latency_s is not None:
            rules.append(delay(exponential(self.latency_s)))
        if self.nodes is not None:
            rules = [_concerning(rule, sim.addresses(self.nodes)) for rule in rules]
        return _ruled(sim, *rules)

    @property
    def label(self) -> str:
        """The fault in a few words."""
        parts = [f"{self.loss:.0%} loss"] if self.loss else []
        if self.duplicates or self.reordered:
            parts.append("disorder")
        if self.latency_s is not None:
            parts.append(f"{self.latency_s * 1000:g} ms")
        if self.bytes_per_s is not None:
            parts.append(f"{self.bytes_per_s / 1000:g} kB/s")
        return f"{self.title} {', '.join(parts)}"


class Pause(Fault, frozen=True, kw_only=True, tag="pause"):
    """A node stops, as with SIGSTOP: it neither receives nor sends, and its timers wait."""

    node: NodeIndex

    def begin(self, sim: Simulation) -> Undo | None:
        """Pause it."""
        return sim.pause(self.node)


class Slow(Fault, frozen=True, kw_only=True, tag="slow"):
    """A node handles messages and timers late.

    Attributes:
        node: which node.
        lag_s: the mean lag, exponentially distributed.
    """

    node: NodeIndex
    lag_s: Seconds

    def begin(self, sim: Simulation) -> Undo | None:
        """Slow it down."""
        return sim.slow_down(self.node, self.lag_s)


class Skew(Fault, frozen=True, kw_only=True, tag="skew"):
    """A node's clock is set ahead, for good, and runs at another rate while the fault lasts.

    Attributes:
        node: which node.
        forward_s: how far ahead, at least 0.
        rate: its seconds in one second.
    """

    node: NodeIndex
    forward_s: Seconds = 0.0
    rate: Positive = 1.0

    def begin(self, sim: Simulation) -> Undo | None:
        """Set the clock; the end resets its rate only."""
        return sim.skew(self.node, forward_s=self.forward_s, rate=self.rate)

    def clock_error_s(self, duration_s: float) -> float:
        """Return how far ahead the clock is at the end."""
        return self.forward_s + abs(self.rate - 1.0) * (self.duration_s or duration_s)


class Crash(Fault, frozen=True, kw_only=True, tag="crash"):
    """A node crashes; at the end of the fault it starts again, with the same identity.

    Attributes:
        node: which node.
        is_silent: whether its host crashes, too, so that its peers aren't notified of broken connections.
    """

    node: NodeIndex
    is_silent: Flag = False

    def begin(self, sim: Simulation) -> Undo | None:
        """Crash it."""
        return _restarting(sim, self.node, has_ended=sim.crash(self.node, is_silent=self.is_silent))

    def ended_nodes(self) -> list[int]:
        """Return the node."""
        return [self.node]

    @property
    def label(self) -> str:
        """The fault in a few words."""
        return f"{self.title} n{self.node}{', silent' * self.is_silent}"


class Leave(Fault, frozen=True, kw_only=True, tag="leave"):
    """A node leaves the cluster and stops; at the end of the fault it starts again, with the same identity."""

    node: NodeIndex

    def begin(self, sim: Simulation) -> Undo | None:
        """Stop it."""
        return _restarting(sim, self.node, has_ended=sim.stop(self.node))

    def ended_nodes(self) -> list[int]:
        """Return the node."""
        return [self.node]


def _ruled(sim: Simulation, *rules: Rule) -> Undo:
    sim.fabric.add_rules(*rules)
    return lambda: sim.fabric.remove_rules(*rules)


def _restarting(sim: Simulation, node: int, *, has_ended: bool) -> Undo | None:
    return (lambda: sim.restart_soon(node)) if has_ended else None


def _concerning(rule: Rule, nodes: list[NodeAddress]) -> Rule:
    concerned = frozenset(nodes)
    return only(rule, lambda message: message.source in concerned or message.target in concerned)


def _named(nodes: list[int]) -> str:
    return " ".join(f"n{node}" for node in nodes) if len(nodes) <= _NAMED else f"{len(nodes)} nodes"
