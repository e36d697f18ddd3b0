"""The times of faults, and of nodes' runs, in a trace.

Invariant: a fault without effect, because its node was down, has no span.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from trionet.errors import ConfigError
from trionet.simulation.fault import decode_schedule

if TYPE_CHECKING:
    from trionet.simulation.fault import Fault
    from trionet.simulation.trace import Trace

__all__ = ["FaultSpan", "end_of", "fault_spans", "natural", "nodes_of", "runs_of"]

_BEGINS: Final = " begins"
_ENDS: Final = " ends"


class FaultSpan(NamedTuple):
    """A fault with its begin and end.

    Attributes:
        begin, end: in seconds since the simulation began.
        kind: the kind of fault, in a word or two.
        label: the same, with its nodes and strength.
        nodes: the names of its nodes.
    """

    begin: float
    end: float
    kind: str
    label: str
    nodes: tuple[str, ...]


def natural(name: str) -> tuple[list[int], str]:
    """Return a sort key of names, by which n10 is after n9."""
    return [int(digits) for digits in re.findall(r"\d+", name)], name


def nodes_of(trace: Trace) -> list[str]:
    """Return the nodes that have events, in order."""
    return sorted({event.node for event in trace if event.node}, key=natural)


def end_of(trace: Trace) -> float:
    """Return the time of the last event."""
    return trace.events[-1].at if trace.events else 0.0


def fault_spans(trace: Trace) -> list[FaultSpan]:
    """Return the faults of a trace in the order in which they began."""
    end = end_of(trace)
    found: list[FaultSpan] = []
    scheduled: dict[str, list[FaultSpan]] = {}
    crashed: dict[str, FaultSpan] = {}
    for event in trace.select("fault"):
        at, what, node = event.at, event.what, event.node
        if what.endswith(_BEGINS):
            scheduled.setdefault(event.detail, []).append(_begun(what.removesuffix(_BEGINS), event.detail, at, end))
        elif what.endswith(_ENDS) and scheduled.get(event.detail):
            found.append(scheduled[event.detail].pop(0)._replace(end=at))
        elif what == "crash" and not any(
            span.nodes == (node,) and span.begin == at for spans in scheduled.values() for span in spans
        ):
            crashed[node] = FaultSpan(at, end, "crash", f"crash {node}", (node,))
        elif what == "restart" and node in crashed:
            found.append(crashed.pop(node)._replace(end=at))
    found += crashed.values()
    found += [span._replace(end=end) for spans in scheduled.values() for span in spans if span.end >= end]
    return sorted(found, key=lambda span: (span.begin, span.end, span.label))


def _begun(what: str, detail: str, at: float, end: float) -> FaultSpan:
    """Return a fault with its planned end: without an event of that end it had no effect."""
    fault = _decoded(detail)
    if fault is None:
        return FaultSpan(at, end, what.lower(), what.lower(), ())
    until = end if fault.duration_s is None else at + fault.duration_s
    return FaultSpan(at, until, fault.title, fault.label, tuple(f"n{node}" for node in fault.nodes_named()))


def _decoded(detail: str) -> Fault | None:
    try:
        return decode_schedule(f"[{detail}]")[0]
    except ConfigError:  # of a kind that isn't imported here
        return None


def runs_of(trace: Trace) -> dict[str, list[tuple[float, float]]]:
    """Return the begins and ends of each node's runs, in seconds since the simulation began."""
    end = end_of(trace)
    begun: dict[str, float] = {}
    ended: set[str] = set()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in nodes_of(trace)}
    for event in trace:
        node = event.node
        if event.kind == "fault":
            for name in [node] if event.what == "crash" else _stopped(event.what, event.detail):
                if name in begun:
                    found[name].append((begun.pop(name), event.at))
                    ended.add(name)
            if event.what == "restart":
                begun.setdefault(node, event.at)
        elif node and node not in begun and node not in ended:
            begun[node] = event.at
    for node, at in begun.items():
        found[node].append((at, end))
    return found


def _stopped(what: str, detail: str) -> list[str]:
    """Return the nodes that a fault ends when it begins."""
    fault = _decoded(detail) if what.endswith(_BEGINS) else None
    return [] if fault is None else [f"n{node}" for node in fault.ended_nodes()]
