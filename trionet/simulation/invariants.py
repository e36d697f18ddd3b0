"""Invariants of a cluster: each receives the events of a trial, and returns its violations at the end.

A trial has two parts: for its duration there are faults, and the program runs; then follows a quiet time, in which the
cluster must recover.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from .cluster import Simulation
    from .trace import TraceEvent
    from .trials import Trial

__all__ = ["Invariant", "Violation", "Watch"]


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A violation of an invariant.

    Attributes:
        invariant: the name of the invariant.
        at_s: the time of its detection, in seconds since the simulation began.
        text: a sentence.
        nodes: the nodes that it concerns, by their names in the trace.
        signature: the kind of failure, if the invariant's name isn't enough: the type of an exception, with its file
            and line; the way in which a process ended; mostly empty.
    """

    invariant: str
    at_s: float
    text: str
    nodes: list[str] = []
    signature: str = ""

    def is_like(self, other: Violation) -> bool:
        """Whether it is the same failure as another one, even with other times and numbers."""
        return (self.invariant, self.signature) == (other.invariant, other.signature)

    def __str__(self) -> str:
        return f"{self.invariant}, at {self.at_s:.3f} s: {self.text}"


@runtime_checkable
class Invariant(Protocol):
    """An invariant, observed during one trial.

    Attributes:
        name: its name.
    """

    name: str

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Begin, while the cluster is whole and before the first fault."""
        ...

    def take(self, event: TraceEvent) -> None:
        """Handle an event of the trace, of any kind except messages."""
        ...

    def is_settled(self) -> bool:
        """Whether it waits for nothing more; polled in the quiet time, which ends when all invariants are settled."""
        ...

    async def check(self) -> list[Violation]:
        """Return the violations; called once, at the end."""
        ...


class Watch:
    """An `Invariant` that always holds; a base class.

    Attributes:
        name: its name.
        sim: the simulation.
        trial: the trial.
        violations: the violations so far.
    """

    name: str = ""
    sim: Simulation
    trial: Trial

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Keep the simulation and the trial."""
        self.sim, self.trial = sim, trial

    def take(self, event: TraceEvent) -> None:
        """Ignore the event."""

    def is_settled(self) -> bool:
        """Wait for nothing."""
        return True

    @staticmethod
    def least_settle_s(profile: str) -> float:
        """Return the least quiet time, in seconds, in which it can be judged with a profile of nodes."""
        return 0.0

    async def check(self) -> list[Violation]:
        """Return the violations so far."""
        return self.violations

    def violated(self, text: str, *nodes: str, signature: str = "") -> None:
        """Add a violation."""
        self.violations.append(
            Violation(invariant=self.name, at_s=self.sim.now, text=text, nodes=list(nodes), signature=signature)
        )
