"""Rates and latencies from two looks at the figures of a node.

Invariant: a node that has restarted between the two looks, so that its counts went back, has no rates yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from .histograms import LIMITS_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .figures import CallFigures, NodeFigures

__all__ = ["MethodRates", "NodeRates", "merged", "node_rates", "quantile_s"]

_GOOD: Final = frozenset({"ok", "cancelled"})
_OWN: Final = frozenset({"inspection", "diagnosis"})
"""The services that commands ask; their calls would hide that a cluster is idle."""


class MethodRates(msgspec.Struct, frozen=True):
    """The calls of one method between two looks.

    Attributes:
        service, method: its names.
        calls: how many have ended.
        errors: how many of them have failed or were refused.
        seconds: the time between the looks.
        buckets: the histogram of their durations.
        time_s: their durations together.
        outcomes: how many have ended with each outcome; see `trionet.figures.CallFigures`.
    """

    service: str
    method: str
    calls: int
    errors: int
    seconds: float
    buckets: tuple[int, ...]
    time_s: float
    outcomes: dict[str, int] = {}

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.service}/{self.method}"

    @property
    def per_s(self) -> float:
        """The calls per second."""
        return self.calls / self.seconds

    @property
    def errors_per_s(self) -> float:
        """The failures per second."""
        return self.errors / self.seconds

    def latency_s(self, share: float) -> float | None:
        """Return the duration that this share of the calls does not exceed; None without calls."""
        return quantile_s(self.buckets, share)


class NodeRates(msgspec.Struct, frozen=True):
    """One node between two looks.

    Attributes:
        served: the calls of its methods, by name.
        made: the calls that it has made, per second.
        rumors: the rumors that it has delivered, per second.
        sent_bytes: the bytes that it has sent by links and datagrams, per second.
        lag_s: the 99th percentile of how late its timers ran; None if none ran.
        probe_s: the median round trip of its probes; None without any.
        made_methods: the calls that it has made, by name.
    """

    served: dict[str, MethodRates]
    made: float = 0.0
    rumors: float = 0.0
    sent_bytes: float = 0.0
    lag_s: float | None = None
    probe_s: float | None = None
    made_methods: dict[str, MethodRates] = {}

    @property
    def total(self) -> MethodRates | None:
        """All served calls together; None without any."""
        return merged(self.served.values(), "", "")


def node_rates(before: NodeFigures, after: NodeFigures) -> NodeRates | None:
    """Return the rates between two looks at one node; None if there can't be any."""
    seconds = after.at_s - before.at_s
    if seconds <= 0:
        return None
    served = _methods(before.calls_served, after.calls_served, seconds)
    made_methods = _methods(before.calls_made, after.calls_made, seconds)
    made = _count(after.calls_made) - _count(before.calls_made)
    rumors = after.gossip.delivered - before.gossip.delivered
    sent = after.links.bytes_sent + after.datagrams.bytes_sent - before.links.bytes_sent - before.datagrams.bytes_sent
    if served is None or made_methods is None or made < 0 or rumors < 0 or sent < 0:
        return None
    lag = _less(after.cluster.lag.buckets, before.cluster.lag.buckets)
    probes = _less(after.cluster.probe_round_trips.buckets, before.cluster.probe_round_trips.buckets)
    return NodeRates(
        served=served,
        made=made / seconds,
        rumors=rumors / seconds,
        sent_bytes=sent / seconds,
        lag_s=quantile_s(lag, 0.99),
        probe_s=quantile_s(probes, 0.5),
        made_methods=made_methods,
    )


def merged(rates: Iterable[MethodRates], service: str, method: str) -> MethodRates | None:
    """Return several methods, or one of several nodes, as one; None if there are none."""
    each = list(rates)
    if not each:
        return None
    buckets = _sum([one.buckets for one in each])
    calls, errors, time_s = (sum(column) for column in zip(*((r.calls, r.errors, r.time_s) for r in each), strict=True))
    outcomes: dict[str, int] = {}
    for one in each:
        for outcome, count in one.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    return MethodRates(service, method, calls, errors, max(one.seconds for one in each), buckets, time_s, outcomes)


def quantile_s(buckets: Iterable[int], share: float) -> float | None:
    """Return the duration that this share does not exceed, within its bucket by proportion; None without any.

    Args:
        buckets: the counts up to each of `LIMITS_S`, and over the one before; then those over the last one.
        share: from 0 to 1.
    """
    counts = list(buckets)
    total = sum(counts)
    if total <= 0:
        return None
    left = share * total
    limits: tuple[float, ...] = LIMITS_S
    for place, count in enumerate(counts):
        if count and left <= count:
            if place >= len(limits):
                return limits[-1]
            low = limits[place - 1] if place else 0.0
            return low + (limits[place] - low) * max(0.0, left) / count
        left -= count
    return limits[-1]


def _methods(before: list[CallFigures], after: list[CallFigures], seconds: float) -> dict[str, MethodRates] | None:
    """Return the rates of each method that was called between two looks; None if counts went back."""
    earlier = {(one.service, one.method, one.outcome): one.durations for one in before}
    found: dict[str, list[MethodRates]] = {}
    for one in after:
        if one.service in _OWN:
            continue
        known = earlier.get((one.service, one.method, one.outcome))
        calls = one.durations.count - (0 if known is None else known.count)
        if calls < 0:
            return None
        if not calls:
            continue
        buckets = _less(one.durations.buckets, [] if known is None else known.buckets)
        time_s = one.durations.sum_s - (0.0 if known is None else known.sum_s)
        errors = 0 if one.outcome in _GOOD else calls
        outcomes = {one.outcome: calls}
        rates = MethodRates(one.service, one.method, calls, errors, seconds, buckets, time_s, outcomes)
        found.setdefault(rates.name, []).append(rates)
    combined = {name: merged(parts, parts[0].service, parts[0].method) for name, parts in found.items()}
    return {name: one for name, one in combined.items() if one is not None}


def _count(calls: list[CallFigures]) -> int:
    return sum(one.durations.count for one in calls)


def _less(after: list[int], before: list[int]) -> tuple[int, ...]:
    """Return the counts that were added."""
    padded = [*before, *[0] * (len(after) - len(before))]
    return tuple(max(0, late - early) for late, early in zip(after, padded, strict=False))


def _sum(columns: list[tuple[int, ...]]) -> tuple[int, ...]:
    length = max(map(len, columns))
    return tuple(sum(one[place] for one in columns if place < len(one)) for place in range(length))
