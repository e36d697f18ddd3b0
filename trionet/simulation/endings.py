"""Two promises about calls: what a call has started has ended when it ends, and nothing is left running at last."""

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
"""After this time without a sign of life a link has been given up."""

_AFTERMATHS: Final = 5
"""How many times as long as a fault that which it has held up may take to be worked off."""

_AFTERMATH_S: Final = 5.0


class _Handlers(Watch):
    """Knows which handlers run for which callers."""

    def __init__(self) -> None:
        super().__init__()
        self._lives: dict[str, int] = {}
        self._running: dict[tuple[str, str], TraceEvent] = {}
        self._caller_lives: dict[tuple[str, str], int] = {}

    def take(self, event: TraceEvent) -> None:
        """Note the beginning and the end of handlers, and of nodes, with which all their handlers end."""
        match event.kind:
            case "begin":
                self._running[event.node, event.detail] = event
                self._caller_lives[event.node, event.detail] = self._lives.get(event.peer, 0)
            case "end":
                self._running.pop((event.node, event.detail), None)
            case "state" | "fault" if event.what in ("NodeOpened", "crash"):
                self._lives[event.node] = self._lives.get(event.node, 0) + 1
                for key in [key for key in self._running if key[0] == event.node]:
                    del self._running[key]


class NoHandlerOutlivesItsCaller(_Handlers):
    """When a call is over for its caller, its handler has ended.

    Unless the connection was lost under it, or it was reported as an orphan: then nobody can know.
    """

    name = "no_handler_outlives_its_caller"

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[tuple[str, str, str], bool] = {}

    def take(self, event: TraceEvent) -> None:
        """Compare what a call's two sides say."""
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
    """In the end no handler runs whose call is over; and while nothing is wrong, none is reported as an orphan.

    The second part is asked for where the network itself loses nothing, and for times at which no fault has to do with
    what happens.
    """

    name = "no_orphan"

    def __init__(self) -> None:
        super().__init__()
        self._over: set[tuple[str, str]] = set()

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Take when something is wrong."""
        super().begin(sim, trial)
        network = network_of(trial.network)
        self._is_judging = not network.loss and network.latency != "heavy_tail"
        self._began_at = sim.now
        self._disturbed = [_disturbed(fault) for fault in trial.schedule()]

    def take(self, event: TraceEvent) -> None:
        """Note which calls are over, and the orphans."""
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
            or self._lives.get(event.peer, 0) != self._caller_lives[node, call]
            or not sim.is_up(int(event.peer[1:] or -1))
        ]

    def is_settled(self) -> bool:
        """Whether nothing runs for nobody."""
        return not self._left()

    async def check(self) -> list[Violation]:
        """Return what runs for nobody."""
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
