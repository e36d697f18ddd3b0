"""Two invariants of calls: a handler ends before its call does, and at the end no handler without a call runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .invariants import Watch
from .rules import network_of

if TYPE_CHECKING:
    from .cluster import Simulation
    from .fault import Fault
    from .invariants import Violation
    from .trace import TraceEvent
    from .trials import Trial

__all__ = ["NoHandlerOutlivesItsCaller", "NoOrphan"]

_SILENCE_S: Final = 35.0
"""A silent link is closed within this time."""

_AFTERMATHS: Final = 5
"""A backlog is processed within this multiple of the fault's duration."""

_AFTERMATH_S: Final = 5.0


class _Handlers(Watch):
    """Tracks the running handlers and their callers."""

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, int] = {}
        self._running: dict[tuple[str, str], TraceEvent] = {}
        self._caller_runs: dict[tuple[str, str], int] = {}

    def take(self, event: TraceEvent) -> None:
        """Record begins and ends of handlers; the end of a node ends its handlers."""
        match event.kind:
            case "begin":
                self._running[event.node, event.detail] = event
                self._caller_runs[event.node, event.detail] = self._runs.get(event.peer, 0)
            case "end":
                self._running.pop((event.node, event.detail), None)
            case "state" | "fault" if event.what in ("NodeOpened", "crash"):
                self._runs[event.node] = self._runs.get(event.node, 0) + 1
                for key in [key for key in self._running if key[0] == event.node]:
                    del self._running[key]


class NoHandlerOutlivesItsCaller(_Handlers):
    """At the end of a call its handler has ended.

    Calls whose connection was lost, or that were reported as orphans, are exempt: the callers can't observe their ends.
    """

    name = "no_handler_outlives_its_caller"

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[tuple[str, str, str], bool] = {}

    def take(self, event: TraceEvent) -> None:
        """Compare the two sides of a call."""
        super().take(event)
        match event.kind:
            case "call":
                self._open[event.node, event.peer, event.detail] = True
            case "answer" | "cancel":
                call = event.detail.partition(" ")[0]
                is_certain = self._open.pop((event.node, event.peer, call), False)
                if is_certain and (event.peer, call) in self._running:
                    ended = "was answered" if event.kind == "answer" else "was cancelled"
                    self.violated(
                        f"the call {call} of {event.node} to {event.what} on {event.peer} {ended}, its handler runs on,"
                        " and it was not reported as an orphan",
                        event.node,
                        event.peer,
                    )
            case "state" if event.what == "LinkLost":
                for key in self._open:
                    if key[:2] == (event.node, event.peer):
                        self._open[key] = False
            case "state" if event.what == "OrphanedCall":
                self._open[event.node, event.peer, event.detail.rpartition(" ")[2]] = False


class NoOrphan(_Handlers):
    """At the end no handler runs whose call is over; and without faults no call is reported as an orphan.

    The second part is judged on networks that lose nothing, and at times without effects of a fault.
    """

    name = "no_orphan"

    def __init__(self) -> None:
        super().__init__()
        self._over: set[tuple[str, str]] = set()

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Compute the times with effects of faults."""
        super().begin(sim, trial)
        network = network_of(trial.network)
        self._is_judging = not network.loss and network.latency != "heavy_tail"
        self._began_at = sim.now
        self._disturbed = [_disturbed(fault) for fault in trial.schedule()]

    def take(self, event: TraceEvent) -> None:
        """Record ended calls and orphans."""
        super().take(event)
        if event.kind in ("answer", "cancel"):
            self._over.add((event.peer, event.detail.partition(" ")[0]))
        elif event.kind == "state" and event.what == "OrphanedCall" and self._is_judging:
            since_s = event.at - self._began_at
            if not any(begin <= since_s <= end for begin, end in self._disturbed):
                method, _, call = event.detail.rpartition(" ")
                self.violated(
                    f"{event.node} has cancelled the call {call} to {method} on {event.peer}, and had no confirmation,"
                    " though nothing was wrong",
                    event.node,
                    event.peer,
                )

    def _left(self) -> list[TraceEvent]:
        sim = self.sim
        return [
            event
            for (node, call), event in self._running.items()
            if (node, call) in self._over
            or self._runs.get(event.peer, 0) != self._caller_runs[node, call]
            or not sim.is_up(int(event.peer[1:] or -1))
        ]

    def is_settled(self) -> bool:
        """Whether no handler runs without its call."""
        return not self._left()

    async def check(self) -> list[Violation]:
        """Return the handlers that run without their calls."""
        for event in self._left():
            self.violated(
                f"{event.what} still runs on {event.node} for the call {event.detail} of {event.peer}, which is over,"
                f" {self.trial.settle_s:g} s after the last fault",
                event.node,
                event.peer,
            )
        return self.violations


def _disturbed(fault: Fault) -> tuple[float, float]:
    """Return from when to when a fault may have effects."""
    lasting_s = fault.duration_s or 0.0
    if fault.ended_nodes():
        return fault.at_s, fault.at_s + lasting_s + _SILENCE_S
    return fault.at_s, fault.at_s + (1 + _AFTERMATHS) * lasting_s + _AFTERMATH_S
