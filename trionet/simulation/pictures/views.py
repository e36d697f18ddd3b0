"""The view that each node has of each other node over time, in a trace.

Invariant: the views of one pair don't overlap, and a node that is down has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .spans import nodes_of, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trionet.simulation.trace import Trace, TraceEvent

__all__ = ["Opinion", "State", "View", "opinions_of", "views_of"]

State = Literal["alive", "suspected", "failed", "left"]

_STATES: Final[dict[str, State]] = {
    "MemberJoined": "alive",
    "MemberTrusted": "alive",
    "MemberSuspected": "suspected",
    "MemberFailed": "failed",
    "MemberLeft": "left",
}


class View(NamedTuple):
    """One node's view of another one for a time, in seconds since the simulation began."""

    observer: str
    subject: str
    begin: float
    end: float
    state: State


def views_of(trace: Trace) -> list[View]:
    """Return all views, by observer and end."""
    events: dict[str, list[TraceEvent]] = {}
    for event in trace.select("state"):
        if event.what in _STATES:
            events.setdefault(event.node, []).append(event)
    return [
        view
        for observer, spans in runs_of(trace).items()
        for begin, end in spans
        for view in _views_in(end, [event for event in events.get(observer, ()) if begin <= event.at < end])
    ]


def _views_in(end: float, events: Sequence[TraceEvent]) -> Iterator[View]:
    """Yield the views of a node in one run, which lasts until `end`."""
    held: dict[str, tuple[float, State]] = {}
    observer = events[0].node if events else ""
    for event in events:
        state = _STATES[event.what]
        since, before = held.get(event.peer, (event.at, state))
        if before == state:
            held[event.peer] = (since, state)
            continue
        if event.at > since:
            yield View(observer, event.peer, since, event.at, before)
        held[event.peer] = (event.at, state)
    for subject, (since, state) in held.items():
        yield View(observer, subject, since, end, state)


class Opinion(NamedTuple):
    """The views that all other nodes have of a node for a time, in seconds since the simulation began.

    Attributes:
        begin, end: the time.
        held: the number of observers by view.
        observers: the number of other nodes that ran.
    """

    begin: float
    end: float
    held: dict[State, int]
    observers: int

    def share(self, state: State) -> float:
        """Return the share of observers with this view, from 0 to 1."""
        return self.held.get(state, 0) / self.observers if self.observers else 0.0


def opinions_of(trace: Trace) -> dict[str, list[Opinion]]:
    """Return the opinions of each node, without gaps, in order."""
    changes: dict[str, list[tuple[float, State | None, int]]] = {name: [] for name in nodes_of(trace)}
    for view in views_of(trace):
        of_subject = changes.setdefault(view.subject, [])
        of_subject += [(view.begin, view.state, 1), (view.end, view.state, -1)]
    for name, spans in runs_of(trace).items():
        for subject, of_subject in changes.items():
            if subject != name:
                of_subject += [change for begin, end in spans for change in ((begin, None, 1), (end, None, -1))]
    return {subject: _swept(of_subject) for subject, of_subject in changes.items()}


def _swept(changes: list[tuple[float, State | None, int]]) -> list[Opinion]:
    found: list[Opinion] = []
    held: dict[State, int] = {}
    observers, since = 0, 0.0
    for at, state, by in sorted(changes, key=lambda change: change[0]):
        if at > since:
            found.append(Opinion(since, at, {each: count for each, count in held.items() if count}, observers))
            since = at
        if state is None:
            observers += by
        else:
            held[state] = held.get(state, 0) + by
    return found
