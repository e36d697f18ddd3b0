"""What goes wrong, and when: a schedule is a list of faults, and a fault is data.

So a schedule can be kept, changed, shrunk and played again. Nodes are named by their place in `Simulation.nodes`; one
that isn't there is passed over, so that a schedule fits fewer nodes, too. Faults of one kind that overlap compose: a
node stands still while anything pauses it, lags add up, and the rates of clocks multiply.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import ConfigError

from .latencies import exponential
from .ranges import check_fields
from .rules import cut, delay, duplicate, lose, partition, reorder, throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress
    from trionet.transports.memory.rules import Rule

    from .cluster import Simulation

    Undo = Callable[[], None] | None

__all__ = [
    "AnyFault",
    "Crash",
    "Degrade",
    "Fault",
    "Isolate",
    "Leave",
    "OneWay",
    "Partition",
    "Pause",
    "Ring",
    "Skew",
    "Slow",
    "check_schedule",
    "decode_schedule",
    "encode_schedule",
]


_OPTIONAL: Final = ("duration_s", "nodes", "latency_s", "bytes_per_s")


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="fault", omit_defaults=True):
    """Something that goes wrong.

    Attributes:
        at_s: when it begins, in seconds since the schedule began.
        duration_s: how long it lasts; None for as long as the simulation.

    Raises:
        ConfigError: a time is negative, or another number is out of its range; the text names it.
    """

    at_s: float
    duration_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        check_fields(self, _OPTIONAL)

    def begin(self, sim: Simulation) -> Undo:
        """Let it begin; return what ends it, if that can be."""
        raise NotImplementedError


class Partition(Fault, frozen=True, kw_only=True, tag="partition"):
    """Nothing gets from one side to another.

    Attributes:
        sides: the nodes of each.
    """

    sides: list[list[int]]

    def begin(self, sim: Simulation) -> Undo:
        """Cut the sides off from each other."""
        return _ruled(sim, partition(*(sim.addresses(side) for side in self.sides)))


class OneWay(Fault, frozen=True, kw_only=True, tag="one_way"):
    """Nothing gets from `sources` to `targets`, while all gets back."""

    sources: list[int]
    targets: list[int]

    def begin(self, sim: Simulation) -> Undo:
        """Cut one way."""
        return _ruled(sim, cut(sim.addresses(self.sources), sim.addresses(self.targets)))


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
    """One node reaches nobody, and nobody reaches it."""

    node: int

    def begin(self, sim: Simulation) -> Undo:
        """Cut it off."""
        others = [index for index in range(len(sim.nodes)) if index != self.node]
        return _ruled(sim, partition(sim.addresses([self.node]), sim.addresses(others)))


class Degrade(Fault, frozen=True, kw_only=True, tag="degrade"):
    """The network gets worse, for messages from or to some nodes.

    Attributes:
        nodes: which; None for all.
        loss, duplicates, reordered: chances, from 0 to 1.
        reordered_by_s: how much later some datagrams arrive.
        latency_s: the mean latency, in place of the network's own; None leaves that.
        bytes_per_s: what passes from one node to another; None without limit.
    """

    nodes: list[int] | None = None
    loss: float = 0.0
    duplicates: float = 0.0
    reordered: float = 0.0
    reordered_by_s: float = 0.2
    latency_s: float | None = None
    bytes_per_s: float | None = None

    def begin(self, sim: Simulation) -> Undo:
        """Make it worse."""
        rules: list[Rule] = []
        if self.loss:
            rules.append(lose(self.loss))
        if self.duplicates:
            rules.append(duplicate(self.duplicates))
        if self.reordered:
            rules.append(reorder(self.reordered, self.reordered_by_s))
        if self.bytes_per_s is not None:
            rules.append(throttle(self.bytes_per_s))
        if self.latency_s is not None:
            rules.append(delay(exponential(self.latency_s)))
        if self.nodes is not None:
            rules = [_concerning(rule, sim.addresses(self.nodes)) for rule in rules]
        return _ruled(sim, *rules)


class Pause(Fault, frozen=True, kw_only=True, tag="pause"):
    """A node stands still, as with SIGSTOP: it neither reads nor writes, and its timers wait."""

    node: int

    def begin(self, sim: Simulation) -> Undo:
        """Let it stand still."""
        return sim.pause(self.node)


class Slow(Fault, frozen=True, kw_only=True, tag="slow"):
    """A node gets to what has come, and to its timers, only after a time.

    Attributes:
        node: which.
        lag_s: the mean of that time, exponentially distributed.
    """

    node: int
    lag_s: float

    def begin(self, sim: Simulation) -> Undo:
        """Slow it down."""
        return sim.slow_down(self.node, self.lag_s)


class Skew(Fault, frozen=True, kw_only=True, tag="skew"):
    """A node's clock is set ahead, and runs at another rate, for good or until it is right again.

    Attributes:
        node: which.
        forward_s: how far, at least 0.
        rate: its seconds in one second.
    """

    node: int
    forward_s: float = 0.0
    rate: float = 1.0

    def begin(self, sim: Simulation) -> Undo:
        """Set the clock; where it ends, it runs at the right rate again, and stays ahead."""
        return sim.skew(self.node, forward_s=self.forward_s, rate=self.rate)


class Crash(Fault, frozen=True, kw_only=True, tag="crash"):
    """A node ends without a word; where the fault ends, it starts again, with the same identity.

    Attributes:
        node: which.
        is_silent: whether its host goes down with it, so that nobody says that its connections are broken.
    """

    node: int
    is_silent: bool = False

    def begin(self, sim: Simulation) -> Undo:
        """Crash it."""
        if not sim.crash(self.node, is_silent=self.is_silent):
            return None
        return lambda: sim.restart_soon(self.node)


class Leave(Fault, frozen=True, kw_only=True, tag="leave"):
    """A node stops as it should; where the fault ends, it starts again, with the same identity."""

    node: int

    def begin(self, sim: Simulation) -> Undo:
        """Stop it."""
        if not sim.stop(self.node):
            return None
        return lambda: sim.restart_soon(self.node)


AnyFault = Partition | OneWay | Ring | Isolate | Degrade | Pause | Slow | Skew | Crash | Leave
"""Each kind of fault there is."""

_decoder = msgspec.json.Decoder(list[AnyFault])


def check_schedule(schedule: Any) -> None:
    """See whether it is a list of faults.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(schedule, list | tuple):
        raise ConfigError(f"a schedule is a list of faults, not {schedule!r:.100}")
    for fault in schedule:
        if not isinstance(fault, Fault):
            raise ConfigError(f"a schedule is a list of faults: {fault!r:.100} is none")


def encode_schedule(schedule: Iterable[Fault]) -> bytes:
    """Return a schedule as JSON.

    Raises:
        ConfigError: it is none.
    """
    check_schedule(faults := list(schedule) if isinstance(schedule, Iterable) else schedule)
    return msgspec.json.encode(faults)


def decode_schedule(data: bytes | str) -> list[AnyFault]:
    """Return the schedule that `encode_schedule` has made.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(data, bytes | str):
        raise ConfigError(f"a schedule is decoded from JSON, bytes or a text, not from {data!r:.80}")
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"no schedule: {exc}") from exc


def _ruled(sim: Simulation, *rules: Rule) -> Undo:
    sim.fabric.add_rules(*rules)
    return lambda: sim.fabric.remove_rules(*rules)


def _concerning(rule: Rule, nodes: list[NodeAddress]) -> Rule:
    concerned = frozenset(nodes)
    return lambda message, random: (
        rule(message, random) if message.source in concerned or message.target in concerned else None
    )
