"""Rules for messages on a network, and networks as data.

Rules are applied in order, and the first verdict wins; see `trionet.transports.memory.rules`. Invariant: a rule uses
only the random numbers of the link that it receives, so that links don't affect each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trionet.errors import ConfigError
from trionet.transports.memory.rules import DROP, PASS

from .arguments import require
from .fields import Chance, LatencyName, Positive, Seconds, check_fields
from .latencies import constant, exponential, heavy_tail, uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from random import Random

    from trionet.identity import NodeAddress
    from trionet.transports.memory.rules import Message, Rule, Verdict

    from .latencies import Latency

__all__ = [
    "Network",
    "cut",
    "delay",
    "duplicate",
    "impair",
    "lose",
    "network_of",
    "networks",
    "only",
    "partition",
    "reorder",
    "throttle",
]


def delay(latency: Latency) -> Rule:
    """Deliver each message after the time that `latency` returns."""
    return lambda _, random: latency(random)


def lose(chance: float) -> Rule:
    """Drop each message with this chance, from 0 to 1. On a connection it is retransmitted, as by TCP."""

    def judge(_: Message, random: Random) -> Verdict:
        return DROP if random.random() < chance else PASS

    return judge


def duplicate(chance: float) -> Rule:
    """Deliver a datagram twice with this chance; each copy has its own latency."""

    def judge(message: Message, random: Random) -> Verdict:
        if message.kind == "datagram" and random.random() < chance:
            message.copies += 1
        return PASS

    return judge


def reorder(chance: float, by_s: float) -> Rule:
    """Delay a datagram by up to `by_s` seconds with this chance, so that later ones overtake it."""

    def judge(message: Message, random: Random) -> Verdict:
        if message.kind == "datagram" and random.random() < chance:
            message.delay_s += by_s * random.random()
        return PASS

    return judge


def throttle(bytes_per_s: float) -> Rule:
    """Limit the bandwidth from one node to another; excess messages queue."""
    free_at: dict[tuple[NodeAddress, NodeAddress], float] = {}

    def judge(message: Message, _: Random) -> Verdict:
        link = message.source, message.target
        begin = max(free_at.get(link, message.sent_at), message.sent_at)
        free_at[link] = end = begin + len(message.data) / bytes_per_s
        message.delay_s += end - message.sent_at
        return PASS

    return judge


def impair(
    loss: float, duplicates: float, reordered: float, reordered_by_s: float, bytes_per_s: float | None
) -> list[Rule]:
    """Return the rules of a bad network; zeros and None are none."""
    rules: list[Rule] = []
    if loss:
        rules.append(lose(loss))
    if duplicates:
        rules.append(duplicate(duplicates))
    if reordered:
        rules.append(reorder(reordered, reordered_by_s))
    if bytes_per_s is not None:
        rules.append(throttle(bytes_per_s))
    return rules


def cut(sources: Iterable[NodeAddress], targets: Iterable[NodeAddress]) -> Rule:
    """Drop messages from any of `sources` to any of `targets`; not those of the other direction."""
    from_these, to_these = frozenset(sources), frozenset(targets)

    def judge(message: Message, _: Random) -> Verdict:
        return DROP if message.source in from_these and message.target in to_these else PASS

    return judge


def partition(*sides: Iterable[NodeAddress]) -> Rule:
    """Drop messages from one of `sides` to another; a node on no side reaches all."""
    side_of = {node: number for number, side in enumerate(sides) for node in side}

    def judge(message: Message, _: Random) -> Verdict:
        one, other = side_of.get(message.source), side_of.get(message.target)
        return DROP if one is not None and other is not None and one != other else PASS

    return judge


def only(rule: Rule, applies: Callable[[Message], bool] | None = None, *, kinds: Collection[str] = ()) -> Rule:
    """Apply `rule` only to messages of these `kinds`, and for which `applies` returns True."""

    def judge(message: Message, random: Random) -> Verdict:
        if (kinds and message.kind not in kinds) or (applies is not None and not applies(message)):
            return PASS
        return rule(message, random)

    return judge


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network without faults, as data.

    Attributes:
        latency: ``constant``, ``uniform``, ``exponential`` or ``heavy_tail``.
        latency_s: the constant; the maximum; the mean above `least_s`; the median.
        least_s: the least latency, for ``uniform`` and ``exponential``.
        loss, duplicates, reordered: chances, from 0 to 1.
        reordered_by_s: the most by which a reordered datagram is later, in seconds.
        bytes_per_s: the bandwidth from one node to another; None is no limit.

    Raises:
        ConfigError: a value is invalid; the text names the field.
    """

    latency: LatencyName = "exponential"
    latency_s: Seconds = 0.0004
    least_s: Seconds = 0.0001
    loss: Chance = 0.0
    duplicates: Chance = 0.0
    reordered: Chance = 0.0
    reordered_by_s: Seconds = 0.05
    bytes_per_s: Positive | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_fields(self)

    def rules(self) -> list[Rule]:
        """Return its rules."""
        rules = impair(self.loss, self.duplicates, self.reordered, self.reordered_by_s, self.bytes_per_s)
        latencies = {
            "constant": constant(self.latency_s),
            "uniform": uniform(self.least_s, self.latency_s),
            "exponential": exponential(self.latency_s, self.least_s),
            "heavy_tail": heavy_tail(self.latency_s),
        }
        return [*rules, delay(latencies[self.latency])]


networks: dict[str, Network] = {
    "perfect": Network(latency="constant", latency_s=0.0),
    "lan": Network(),
    "wan": Network(latency_s=0.02, least_s=0.04, loss=0.002, bytes_per_s=10e6),
    "bad": Network(latency="heavy_tail", latency_s=0.02, loss=0.1, duplicates=0.05, reordered=0.1, reordered_by_s=0.5),
}
"""Networks by name."""


def network_of(network: Any) -> Network:
    """Return a network: the one of this name among `networks`, or `network` itself.

    Raises:
        ConfigError: there is none of that name, or it is neither a name nor a `Network`.
    """
    if isinstance(network, Network):
        return network
    require(network, str, "a network is a name or a Network")
    if network not in networks:
        raise ConfigError(f"no network {network!r}: there are {', '.join(networks)}")
    return networks[network]
