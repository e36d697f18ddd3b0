"""Messages as arrows, and the part of a trace that makes a readable space-time diagram.

A picture has room for some dozens of arrows and a dozen lines; a trace has a hundred thousand messages at a hundred
nodes. So it shows a part: it starts at the begin of a fault, call or rumor, at the concerned nodes and their peers, and
ends when the room is used.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from .spans import fault_spans, natural, nodes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.simulation.trace import Trace, TraceEvent

__all__ = ["MOST_ARROWS", "MOST_NODES", "Arrow", "Part", "arrows_of", "part_of"]

MOST_ARROWS: Final = 48
MOST_NODES: Final = 12
_ROOM: Final = 360
_INTERNAL: Final = "local/membership/"
_LEAD: Final = 0.03
_LEAST_S: Final = 0.001


class Arrow(NamedTuple):
    """A message on its way.

    Attributes:
        source, target: the nodes.
        kind: the kind of the message.
        sent_at: the time of sending, in seconds since the simulation began.
        arrived_at: the time of delivery; None if the trace has none.
        dropped_at: the time of the drop; None if there is none. On a connection the message is retransmitted, and may
            arrive as well.
    """

    source: str
    target: str
    kind: str
    sent_at: float
    arrived_at: float | None
    dropped_at: float | None


class Part(NamedTuple):
    """The visible part of a trace.

    Attributes:
        since, until: its begin and end, in seconds since the simulation began.
        nodes: the nodes with a line, in order.
        arrows: the visible messages, in the order in which they were sent.
        messages: the number of messages sent in this time by all nodes; duplicates count.
    """

    since: float
    until: float
    nodes: list[str]
    arrows: list[Arrow]
    messages: int


def arrows_of(trace: Trace) -> list[Arrow]:
    """Return all messages in the order in which they were sent; one that arrives twice is two arrows."""
    arrived: dict[int, list[float | None]] = {}
    dropped: dict[int, float] = {}
    for event in trace:
        if event.kind == "deliver":
            arrived.setdefault(event.number, []).append(event.at)
        elif event.kind == "drop":
            dropped.setdefault(event.number, event.at)
    return [
        Arrow(event.node, event.peer, event.what, event.at, at, dropped.get(event.number))
        for event in trace.select("send")
        for at in arrived.get(event.number) or [None]
    ]


def part_of(trace: Trace, since: float | None = None, until: float | None = None) -> Part:
    """Return the part in this time; or from the first fault, call or rumor on, until the room is used."""
    begin, end, concerned = _beginning(trace, 0.0 if since is None else since)
    begin = begin if since is None else since
    names = nodes_of(trace)
    chosen = dict.fromkeys(names if len(names) <= MOST_NODES else concerned[:MOST_NODES])
    last = end if until is None else until
    arrows = [arrow for arrow in arrows_of(trace) if begin <= arrow.sent_at <= last]
    kept: list[Arrow] = []
    most = min(MOST_ARROWS, _ROOM // max(1, min(len(names), MOST_NODES)))
    for arrow in arrows:
        ends = dict.fromkeys(arrow[:2])
        if len(kept) < most and (len(chosen | ends) <= MOST_NODES or ends.keys() <= chosen.keys()):
            chosen |= ends
            kept.append(arrow)
    if until is None or len(kept) == most:
        last = _last(begin, kept)
    messages = sum(begin <= arrow.sent_at <= last for arrow in arrows)
    return Part(_rounded(begin, last) if since is None else since, last, sorted(chosen, key=natural), kept, messages)


def _rounded(begin: float, last: float) -> float:
    """Return a round number shortly before `begin`."""
    unit = 10.0 ** math.floor(math.log10((last - begin) / 2))
    rounded = math.floor(begin / unit) * unit
    finer = math.floor((begin - _LEAD * (last - begin)) / (unit / 10)) * unit / 10
    return max(0.0, finer if rounded < begin - (last - begin) / 10 else rounded)


def _beginning(trace: Trace, since: float) -> tuple[float, float, list[str]]:
    """Return the begin and end of the first fault, call or rumor, and the nodes that it concerns."""
    for span in fault_spans(trace):
        if span.begin >= since:
            return span.begin, math.inf, list(span.nodes)
    for event in trace:
        if event.at < since:
            continue
        if event.kind == "call" and not event.what.startswith(_INTERNAL):
            same = trace.select("call", node=event.node, detail=event.detail)
            answers = [each.at for each in trace.select("answer", node=event.node) if _answers(each, event)]
            return event.at, max([event.at, *answers]), [event.node, *(each.peer for each in same)]
        if event.kind == "rumor":
            got = trace.select("rumor", detail=event.detail)[:MOST_NODES]
            return event.at, got[-1].at, [each.node for each in got]
    for message in trace.select("send", since=since):
        return message.at, math.inf, [message.node, message.peer]
    return since, math.inf, []


def _answers(answer: TraceEvent, call: TraceEvent) -> bool:
    return answer.detail.split(" ")[0] == call.detail


def _last(begin: float, arrows: Sequence[Arrow]) -> float:
    """Return the end of the visible part: a usual latency after the last message is sent."""
    ways = [arrow.arrived_at - arrow.sent_at for arrow in arrows if arrow.arrived_at is not None]
    sent = max([arrow.sent_at for arrow in arrows], default=begin)
    last = sent + (1.5 * median(ways) if ways else 0.0)
    return max(last + _LEAD * (last - begin), begin + _LEAST_S)
