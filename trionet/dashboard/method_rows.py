"""The rows of the table of methods: rates and latencies, at one node or over the cluster.

Rates are those of the last `WINDOW_S` seconds, so that a method that is called once a second has steady ones.

Invariants: a node whose counts went back, because it has restarted, has no rates until it is read again; what a peer
says is bounded: names are cut, and at most `MOST_METHODS` of a node are read.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import DecodeError
from trionet.figures import NodeFigures
from trionet.rates import MethodRates, NodeRates, merged, node_rates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.figures import CallFigures
    from trionet.histograms import Durations

__all__ = ["MOST_METHODS", "WINDOW_S", "FiguresOverTime", "bounded_figures", "figures_of", "method_rows"]

WINDOW_S: Final = 5.0
MOST_METHODS: Final = 1_000
"""The most figures of one node, on each side: some have several outcomes."""

_MOST_CHARS: Final = 128
_MOST: Final = 2**53
_MOST_BUCKETS: Final = 64
_MOST_KEPT: Final = 16
_OWN: Final = frozenset({"inspection", "diagnosis"})
"""The services that the dashboard asks, too."""
_OWN_METHODS: Final = frozenset({("gossip", "tasks")})
"""And what it asks of other services."""
_SIDES: Final = ("served", "made")


def figures_of(answer: object) -> NodeFigures:
    """Return the figures that a node has answered, within bounds.

    Raises:
        DecodeError: there are none in its answer.
    """
    try:
        figures = msgspec.convert(answer, NodeFigures, strict=False)
    except msgspec.ValidationError as exc:
        raise DecodeError(f"its figures can't be read: {exc}") from exc
    if not math.isfinite(figures.at_s):
        raise DecodeError("its figures have no time")
    bounded, gossip, links, packets = bounded_figures(figures), figures.gossip, figures.links, figures.datagrams
    each = (figures.cluster.lag, figures.cluster.probe_round_trips)
    counted = (*each, *(one.durations for one in (*bounded.calls_served, *bounded.calls_made)))
    counts = (gossip.delivered, links.bytes_sent, packets.bytes_sent)
    if not all(map(_is_possible, counted)) or not 0 <= min(counts) <= max(counts) <= _MOST:
        raise DecodeError("its figures are out of all bounds")
    return bounded


def _is_possible(durations: Durations) -> bool:
    buckets = durations.buckets
    is_counted = 0 <= durations.count <= _MOST and len(buckets) <= _MOST_BUCKETS
    return (
        is_counted
        and 0 <= durations.sum_s <= _MOST
        and 0 <= min(buckets, default=0) <= max(buckets, default=0) <= _MOST
    )


def bounded_figures(figures: NodeFigures) -> NodeFigures:
    """Return figures within bounds, without the calls that the dashboard itself makes."""
    served, made = _bounded(figures.calls_served), _bounded(figures.calls_made)
    return msgspec.structs.replace(figures, calls_served=served, calls_made=made)


def _bounded(calls: list[CallFigures]) -> list[CallFigures]:
    return [
        msgspec.structs.replace(
            one, service=one.service[:_MOST_CHARS], method=one.method[:_MOST_CHARS], outcome=one.outcome[:_MOST_CHARS]
        )
        for one in calls[:MOST_METHODS]
        if one.service not in _OWN and (one.service, one.method) not in _OWN_METHODS
    ]


class FiguresOverTime:
    """The last figures of one node.

    Attributes:
        rates: its rates over the last seconds; None before there are two figures.
    """

    def __init__(self) -> None:
        self.rates: NodeRates | None = None
        self._kept: deque[NodeFigures] = deque(maxlen=_MOST_KEPT)  # the times are the node's

    @property
    def last(self) -> NodeFigures:
        """The last ones."""
        return self._kept[-1]

    def add(self, figures: NodeFigures) -> None:
        """Add newer figures."""
        kept = self._kept
        while len(kept) > 1 and figures.at_s - kept[1].at_s >= WINDOW_S:
            kept.popleft()
        self.rates = node_rates(kept[0], figures) if kept else None
        if self.rates is None:
            kept.clear()
        kept.append(figures)


def method_rows(nodes: Iterable[FiguresOverTime]) -> dict[str, dict[str, Any]]:
    """Return the rows of some nodes together, by ``service/method``; those that are called most come first.

    A row has ``served`` and ``made``, if there were such calls: ``total``, their number since their nodes have begun;
    and while there are such calls ``per_s``, ``p50_ms``, ``p99_ms`` and ``errors``: those that have ended otherwise
    than well, per second, by outcome.
    """
    totals: dict[str, dict[str, int]] = {}
    parts: dict[tuple[str, str], list[MethodRates]] = {}
    for node in nodes:
        for side, calls in zip(_SIDES, (node.last.calls_served, node.last.calls_made), strict=True):
            for one in calls:
                row = totals.setdefault(f"{one.service}/{one.method}", {})
                row[side] = row.get(side, 0) + one.durations.count
        if node.rates is not None:
            for side, rates in zip(_SIDES, (node.rates.served, node.rates.made_methods), strict=True):
                for name, part in rates.items():
                    parts.setdefault((name, side), []).append(part)
    rows = {
        name: {side: {"total": count} | _rates(parts.get((name, side), [])) for side, count in row.items()}
        for name, row in totals.items()
    }
    return dict(sorted(rows.items(), key=lambda one: (-_most(one[1]), one[0])))


def _most(row: dict[str, Any]) -> float:
    return max(float(side.get("per_s", 0.0)) for side in row.values())


def _rates(parts: list[MethodRates]) -> dict[str, Any]:
    """Return the rates of one method, of one or of several nodes together."""
    whole = merged(parts, "", "")
    if whole is None:
        return {}
    errors: dict[str, float] = {}
    for part in parts:  # each node has a time of its own between its figures: rates are added, not counts
        for outcome, count in part.outcomes.items():
            if outcome != "ok":
                errors[outcome] = errors.get(outcome, 0.0) + count / part.seconds
    found: dict[str, Any] = {
        "per_s": _short(sum(part.per_s for part in parts)),
        "p50_ms": _ms(whole.latency_s(0.5)),
        "p99_ms": _ms(whole.latency_s(0.99)),
    }
    if errors:
        found["errors"] = {outcome: _short(one) for outcome, one in sorted(errors.items())}
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _short(1000 * seconds)


def _short(value: float) -> float:
    """Return a number to three digits: more would change each second."""
    return float(f"{value:.3g}") if math.isfinite(value) else 0.0
