"""Traces made by hand, event by event, and axes to draw in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trionet.simulation import Crash, Leave, Trace, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from trionet.simulation import Fault

__all__ = ["delivered", "ended", "fault_events", "joined", "new_axes", "rumor", "sent", "state", "trace_of"]


def trace_of(*parts: TraceEvent | Iterable[TraceEvent]) -> Trace:
    """Return a trace with these events, in the order of their times."""
    trace = Trace()
    for part in parts:
        trace.events.extend([part] if isinstance(part, TraceEvent) else part)
    trace.events.sort(key=lambda event: event.at)
    return trace


def sent(at: float, node: str, peer: str, number: int, what: str = "datagram") -> TraceEvent:
    return TraceEvent(at, "send", node, peer, what, number, 10)


def delivered(at: float, node: str, peer: str, number: int, what: str = "datagram") -> TraceEvent:
    return TraceEvent(at, "deliver", peer, node, what, number, 10)


def state(at: float, node: str, peer: str, what: str) -> TraceEvent:
    return TraceEvent(at, "state", node, peer, what)


def joined(n: int, at: float = 0.0) -> list[TraceEvent]:
    """Return that each of `n` nodes sees each other one."""
    names = [f"n{index}" for index in range(n)]
    return [state(at, one, other, "MemberJoined") for one in names for other in names if one != other]


def rumor(at: float, node: str, origin: str, id_: str = "a1") -> TraceEvent:
    return TraceEvent(at, "rumor", node, origin, "", 0, 0, id_)


def ended(at: float) -> TraceEvent:
    """Return something that makes a trace last so long."""
    return TraceEvent(at, "note", "", what="the end")


def fault_events(fault: Fault, begin: float, end: float | None = None) -> list[TraceEvent]:
    """Return the events of a fault."""
    what, detail = type(fault).__name__, msgspec.json.encode(fault).decode()
    events = [TraceEvent(begin, "fault", "", what=f"{what} begins", detail=detail)]
    if isinstance(fault, Crash):
        events.append(TraceEvent(begin, "fault", f"n{fault.node}", what="crash"))
    if end is not None:
        events.append(TraceEvent(end, "fault", "", what=f"{what} ends", detail=detail))
        if isinstance(fault, Crash | Leave):
            events.append(TraceEvent(end, "fault", f"n{fault.node}", what="restart"))
    return events


def new_axes() -> Axes:
    """Return axes to draw into."""
    from matplotlib.figure import Figure  # it takes half a second

    return Figure(figsize=(9.6, 5.4)).add_subplot()
