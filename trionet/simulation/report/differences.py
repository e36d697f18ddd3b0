"""Where a failing run first differs from a passing one.

Two runs with one seed are equal until the first effect of a fault, so they are compared event by event, exactly. Runs
with different seeds differ in each time and id, in what nodes do by themselves, and in who calls first: of them only
calls, handlers and notes are compared, in the order of each node, whoever the peers are.

Invariant: the beginnings and ends of faults themselves are no differences, but their effects are.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from trionet.simulation.trace import TraceEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.simulation.trace import Kind, Trace

    Shape = tuple[str, ...]

__all__ = ["Difference", "Differences", "differences_of", "have_one_seed"]

_BEFORE: Final = 6
_CALLS: Final[frozenset[Kind]] = frozenset({"call", "answer", "cancel", "begin", "end", "note"})
_BACKGROUND: Final = "local/membership/"
"""What nodes do by themselves, at random."""


class Difference(msgspec.Struct, frozen=True):
    """The first different event of two runs.

    Attributes:
        failing, passing: the event in each run; None if that run had ended, or the node did nothing more.
        before: the last events before it, the same in both runs; of the failing one.
    """

    failing: TraceEvent | None
    passing: TraceEvent | None
    before: list[TraceEvent]

    @property
    def at(self) -> float:
        """Its time, in seconds since the simulation began."""
        event = self.failing or self.passing
        assert event is not None
        return event.at


class Differences(msgspec.Struct, frozen=True):
    """The first differences of a failing run from a passing one.

    Attributes:
        event: the first different event of any kind; None if there is none, or the seeds differ.
        action: the first different thing that a node did (a call, a handler, a change of its view), in the order of
            that node; None if there is none.
    """

    event: Difference | None
    action: Difference | None


class _View(NamedTuple):
    """What is compared of the actions of nodes: which kinds, and whether it matters with whom."""

    kinds: frozenset[Kind]
    has_peers: bool

    def shape(self, event: TraceEvent) -> Shape:
        """Return an event without its time, and without ids, which follow from the seed."""
        match event.kind:
            case "note":
                detail = event.detail
            case "answer":
                detail = event.detail.partition(" ")[2]  # the name of the error
            case _:
                detail = ""
        return event.kind, event.what, detail, event.peer if self.has_peers else ""

    def actions(self, trace: Trace) -> dict[str, list[TraceEvent]]:
        """Return what each node did, in its order."""
        found: dict[str, list[TraceEvent]] = {}
        for event in trace:
            if event.kind in self.kinds and not event.what.startswith(_BACKGROUND):
                found.setdefault(event.node, []).append(event)
        return found


_OF_ONE_SEED: Final = _View(_CALLS | {"state", "rumor"}, has_peers=True)
_OF_DIFFERENT_SEEDS: Final = _View(_CALLS, has_peers=False)


def have_one_seed(one: Trace, other: Trace) -> bool:
    """Return whether two runs seem to have one seed: the first message took the same time, which is random."""
    first, second = (next((event for event in trace if event.kind == "deliver"), None) for trace in (one, other))
    return first == second


def differences_of(failing: Trace, passing: Trace, *, are_seeds_equal: bool) -> Differences:
    """Return the first differences of two runs."""
    event = _first_event(failing, passing) if are_seeds_equal else None
    return Differences(event, _first_action(failing, passing, _OF_ONE_SEED if are_seeds_equal else _OF_DIFFERENT_SEEDS))


def _first_event(failing: Trace, passing: Trace) -> Difference | None:
    one, other = ([event for event in trace if event.kind != "fault"] for trace in (failing, passing))
    for index, (event, counterpart) in enumerate(zip_longest(one, other)):
        if event != counterpart:
            return Difference(event, counterpart, one[max(0, index - _BEFORE) : index])
    return None


def _first_action(failing: Trace, passing: Trace, view: _View) -> Difference | None:
    """Return the earliest of the first differences of all nodes."""
    actions, others = view.actions(failing), view.actions(passing)
    found = [
        difference
        for node in sorted(actions.keys() | others.keys())
        if (difference := _first_of_node(actions.get(node, ()), others.get(node, ()), view)) is not None
    ]
    return min(found, key=lambda difference: difference.at, default=None)


def _first_of_node(actions: Sequence[TraceEvent], others: Sequence[TraceEvent], view: _View) -> Difference | None:
    for index, (event, counterpart) in enumerate(zip_longest(actions, others)):
        if event is None or counterpart is None or view.shape(event) != view.shape(counterpart):
            return Difference(event, counterpart, list(actions[max(0, index - _BEFORE) : index]))
    return None
