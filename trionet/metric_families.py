"""The metrics of a node: their names, kinds, meanings and labels, and how each follows from its figures.

Source: Prometheus, "Metric and label naming".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .histograms import Durations, total

if TYPE_CHECKING:
    from .figures import NodeFigures

__all__ = ["FAMILIES", "Family", "Value"]

Value = int | float | Durations
"""A histogram's value is `Durations`, any other's a number."""

_Samples = Iterable[tuple[tuple[str, ...], Value]]
"""The values of the labels, in order, and the value."""


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: its name, with the suffix ``_total`` of a counter.
        kind: its type.
        text: its meaning.
        labels: the names of its labels.
        samples: returns its samples, given a node's figures.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...]
    samples: Callable[[NodeFigures], _Samples]


def _one(value: Callable[[NodeFigures], Value]) -> Callable[[NodeFigures], _Samples]:
    return lambda figures: [((), value(figures))]


def _by_name(values: Callable[[NodeFigures], dict[str, int]]) -> Callable[[NodeFigures], _Samples]:
    return lambda figures: [((name,), value) for name, value in values(figures).items()]


def _both_ways(
    sent: Callable[[NodeFigures], int], received: Callable[[NodeFigures], int]
) -> Callable[[NodeFigures], _Samples]:
    return lambda figures: [(("sent",), sent(figures)), (("received",), received(figures))]


_CALL: Final = ("service", "method", "outcome")
_DIRECTION: Final = ("direction",)

FAMILIES: Final = (
    Family(
        "trionet_calls_served_total",
        "counter",
        "The calls of this node's methods that have ended.",
        _CALL,
        lambda figures: [((c.service, c.method, c.outcome), c.durations.count) for c in figures.calls_served],
    ),
    Family(
        "trionet_call_served_seconds",
        "histogram",
        "The durations of the calls of this node's methods, from the check of the arguments to the value.",
        _CALL,
        lambda figures: [((c.service, c.method, c.outcome), c.durations) for c in figures.calls_served],
    ),
    Family(
        "trionet_calls_made_total",
        "counter",
        "The calls that this node has made, to others and to itself, that have ended.",
        _CALL,
        lambda figures: [((c.service, c.method, c.outcome), c.durations.count) for c in figures.calls_made],
    ),
    Family(
        "trionet_call_made_seconds",
        "histogram",
        "The durations of the calls that this node has made, as their caller sees them.",
        _CALL,
        lambda figures: [((c.service, c.method, c.outcome), c.durations) for c in figures.calls_made],
    ),
    Family(
        "trionet_calls_running",
        "gauge",
        "The calls with running handlers.",
        (),
        _one(lambda figures: figures.calls_running),
    ),
    Family(
        "trionet_calls_orphaned_total",
        "counter",
        "The cancelled calls of this node whose handlers did not confirm their end in time.",
        (),
        _one(lambda figures: figures.calls_orphaned),
    ),
    Family("trionet_links", "gauge", "The open links.", (), _one(lambda figures: figures.links.open)),
    Family(
        "trionet_links_opened_total",
        "counter",
        "The links that have been opened.",
        (),
        _one(lambda figures: figures.links.opened),
    ),
    Family(
        "trionet_link_bytes_total",
        "counter",
        "The bytes of frames over links, before encryption.",
        _DIRECTION,
        _both_ways(lambda figures: figures.links.bytes_sent, lambda figures: figures.links.bytes_received),
    ),
    Family(
        "trionet_link_frames_total",
        "counter",
        "The frames over links; a long one counts once for each part.",
        _DIRECTION,
        _both_ways(lambda figures: figures.links.frames_sent, lambda figures: figures.links.frames_received),
    ),
    Family(
        "trionet_link_queued_frames",
        "gauge",
        "The frames that wait to be sent over links.",
        (),
        _one(lambda figures: figures.links.queued_frames),
    ),
    Family(
        "trionet_link_queued_bytes",
        "gauge",
        "The bytes of the frames that wait to be sent over links.",
        (),
        _one(lambda figures: figures.links.queued_bytes),
    ),
    Family(
        "trionet_link_calls_waiting",
        "gauge",
        "The calls that wait because a peer accepts no more of them at present: max_calls_per_peer.",
        (),
        _one(lambda figures: figures.links.calls_waiting),
    ),
    Family(
        "trionet_datagrams_total",
        "counter",
        "The datagrams of membership and gossip.",
        _DIRECTION,
        _both_ways(lambda figures: figures.datagrams.sent, lambda figures: figures.datagrams.received),
    ),
    Family(
        "trionet_datagram_bytes_total",
        "counter",
        "The bytes of datagrams, before encryption.",
        _DIRECTION,
        _both_ways(lambda figures: figures.datagrams.bytes_sent, lambda figures: figures.datagrams.bytes_received),
    ),
    Family(
        "trionet_datagram_messages_total",
        "counter",
        "The messages of membership and gossip, by kind; also those that went by calls.",
        ("direction", "kind"),
        lambda figures: [
            ((direction, kind), count)
            for direction, counts in (
                ("sent", figures.datagrams.messages_sent),
                ("received", figures.datagrams.messages_received),
            )
            for kind, count in counts.items()
        ],
    ),
    Family(
        "trionet_packets_by_call_total",
        "counter",
        "The packets of membership and gossip that were sent by calls, as too long or not to be lost.",
        (),
        _one(lambda figures: figures.datagrams.by_call),
    ),
    Family(
        "trionet_packets_lost_total",
        "counter",
        "The packets that were not sent, because too many were being sent by calls.",
        (),
        _one(lambda figures: figures.datagrams.lost),
    ),
    Family(
        "trionet_rumors_sent_total",
        "counter",
        "The rumors that began at this node.",
        (),
        _one(lambda figures: figures.gossip.sent),
    ),
    Family(
        "trionet_rumors_delivered_total",
        "counter",
        "The rumors that were delivered at this node.",
        (),
        _one(lambda figures: figures.gossip.delivered),
    ),
    Family(
        "trionet_rumors_duplicate_total",
        "counter",
        "The copies of rumors that this node had already.",
        (),
        _one(lambda figures: figures.gossip.duplicates),
    ),
    Family(
        "trionet_rumors_pulled_total",
        "counter",
        "The rumors that this node had to fetch, because no copy came by itself.",
        (),
        _one(lambda figures: figures.gossip.pulled),
    ),
    Family(
        "trionet_rumors_failed_total",
        "counter",
        "The delivered rumors whose call failed at this node.",
        (),
        _one(lambda figures: figures.gossip.failed),
    ),
    Family(
        "trionet_members",
        "gauge",
        "The members of the cluster that this node knows, itself included, by state.",
        ("state",),
        _by_name(lambda figures: figures.cluster.members),
    ),
    Family(
        "trionet_suspicions_total",
        "counter",
        "How often this node has suspected a member, because its own probe failed.",
        (),
        _one(lambda figures: figures.cluster.suspicions),
    ),
    Family(
        "trionet_refutations_total",
        "counter",
        "How often this node has refuted a statement about itself, as a suspicion.",
        (),
        _one(lambda figures: figures.cluster.refutations),
    ),
    Family(
        "trionet_probes_failed_total",
        "counter",
        "The probes without an answer.",
        (),
        _one(lambda figures: figures.cluster.probes_failed),
    ),
    Family(
        "trionet_probe_round_trip_seconds",
        "histogram",
        "The times from a probe of a member to its acknowledgement.",
        (),
        _one(lambda figures: figures.cluster.probe_round_trips),
    ),
    Family(
        "trionet_local_health",
        "gauge",
        "How likely this node itself is the slow one: 0 is healthy, 8 the worst.",
        (),
        _one(lambda figures: figures.cluster.health),
    ),
    Family(
        "trionet_scheduling_lag_seconds",
        "histogram",
        "How late the timers of links and membership ran, because the event loop was busy or the process stopped.",
        (),
        _one(lambda figures: total(figures.links.lag, figures.cluster.lag)),
    ),
    Family(
        "trionet_refused_total",
        "counter",
        "What this node has refused: calls, connections, datagrams, requests over HTTP, code.",
        ("kind", "reason"),
        lambda figures: [
            ((kind, reason), count) for kind, counts in figures.refused.items() for reason, count in counts.items()
        ],
    ),
    Family(
        "trionet_children",
        "gauge",
        "The spawned nodes that are starting, running or stopping.",
        (),
        _one(lambda figures: figures.children),
    ),
    Family(
        "trionet_children_spawned_total",
        "counter",
        "The spawned nodes that have booted, restarts included.",
        (),
        _one(lambda figures: figures.children_spawned),
    ),
)
