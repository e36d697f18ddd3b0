"""When faults lasted, and when nodes ran, as a trace tells it.

Invariant: a fault that had no effect, because the node that it meant did not run, has no span.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from trionet.simulation.faults import AnyFault, Crash, Degrade, Leave, OneWay, Partition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.simulation.trace import Trace

__all__ = ["FaultSpan", "end_of", "fault_spans", "label_of", "lives", "natural", "nodes_of"]

_BEGINS: Final = " begins"
_ENDS: Final = " ends"
_NAMED: Final = 4
_decoder = msgspec.json.Decoder(AnyFault)


class FaultSpan(NamedTuple):
    """A fault from its beginning to its end.

    Attributes:
        begin, end: in seconds since the simulation began.
        kind: what it was, in a word or two.
        label: the same, and what concerns whom.
        nodes: the names of the nodes that it names.
    """

    begin: float
    end: float
    kind: str
    label: str
    nodes: tuple[str, ...]


def natural(name: str) -> tuple[list[int], str]:
    """Return by what names are sorted so that n10 comes after n9."""
    return [int(digits) for digits in re.findall(r"\d+", name)], name


def nodes_of(trace: Trace) -> list[str]:
    """Return the nodes that did something, in order."""
    return sorted({event.node for event in trace if event.node}, key=natural)


def end_of(trace: Trace) -> float:
    """Return when the last event was."""
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
    """Return a fault that lasts as long as it was meant to: if its end isn't told before, it had no effect."""
    fault = _decoded(detail)
    if fault is None:
        return FaultSpan(at, end, what.lower(), what.lower(), ())
    until = end if fault.duration_s is None else at + fault.duration_s
    return FaultSpan(at, until, _kind(fault), label_of(fault), tuple(map(_name, _indexes(fault))))


def _decoded(detail: str) -> AnyFault | None:
    try:
        fault: AnyFault = _decoder.decode(detail)
    except msgspec.DecodeError:
        return None
    return fault


def _kind(fault: AnyFault) -> str:
    return "one-way cut" if isinstance(fault, OneWay) else type(fault).__name__.lower()


def label_of(fault: AnyFault) -> str:
    """Return what a fault is, in a few words."""
    name = _kind(fault)
    match fault:
        case Partition(sides=sides):
            return f"{name} {' | '.join(map(_names, sides))}"
        case OneWay(sources=sources, targets=targets):
            return f"{name} {_names(sources)} to {_names(targets)}"
        case Degrade():
            return f"{name} {_degree(fault)}"
        case Crash(is_silent=True):
            return f"{name} n{fault.node}, silent"
    return " ".join([name, *map(_name, _indexes(fault))])


def _degree(fault: Degrade) -> str:
    parts = [f"{fault.loss:.0%} loss"] if fault.loss else []
    if fault.duplicates or fault.reordered:
        parts.append("disorder")
    if fault.latency_s is not None:
        parts.append(f"{fault.latency_s * 1000:g} ms")
    if fault.bytes_per_s is not None:
        parts.append(f"{fault.bytes_per_s / 1000:g} kB/s")
    return ", ".join(parts)


def _indexes(fault: AnyFault) -> Iterable[int]:
    match fault:
        case Partition(sides=sides):
            return [index for places in zip_longest(*sides) for index in places if index is not None]
        case OneWay(sources=sources, targets=targets):
            return [*sources, *targets]
        case Degrade(nodes=nodes):
            return nodes or ()
    return [fault.node] if hasattr(fault, "node") else ()


def _name(index: int) -> str:
    return f"n{index}"


def _names(indexes: list[int]) -> str:
    return " ".join(map(_name, indexes)) if len(indexes) <= _NAMED else f"{len(indexes)} nodes"


def lives(trace: Trace) -> dict[str, list[tuple[float, float]]]:
    """Return when each node ran: from and until when, in seconds since the simulation began."""
    end = end_of(trace)
    begun: dict[str, float] = {}
    ended: set[str] = set()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in nodes_of(trace)}
    for event in trace:
        node = event.node
        if event.kind == "fault":
            stopped = _left(event.what, event.detail) or (node if event.what == "crash" else "")
            if stopped in begun:
                found[stopped].append((begun.pop(stopped), event.at))
                ended.add(stopped)
            if event.what == "restart":
                begun.setdefault(node, event.at)
        elif node and node not in begun and node not in ended:
            begun[node] = event.at
    for node, at in begun.items():
        found[node].append((at, end))
    return found


def _left(what: str, detail: str) -> str:
    if what != f"Leave{_BEGINS}":
        return ""
    fault = _decoded(detail)
    return _name(fault.node) if isinstance(fault, Leave) else ""
