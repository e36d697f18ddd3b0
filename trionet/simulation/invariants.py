"""What must hold in a cluster, whatever happens to it: told of what happens, and asked in the end.

A trial has two parts: for its duration there are faults, and the program runs; then comes a quiet time, in which all
must come right. Those here are what trionet promises, and no more: a sound cluster keeps them under all faults.
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
    """Something that must not be, and was.

    Attributes:
        invariant: the name of what was violated.
        at_s: when it was seen, in seconds since the simulation began.
        text: a sentence.
        nodes: which nodes it concerns, as the trace calls them.
        signature: which kind of failure it is, where the invariant's name doesn't tell: the type of what was raised,
            with the file and the line; how a process has ended; mostly empty.
    """

    invariant: str
    at_s: float
    text: str
    nodes: list[str] = []
    signature: str = ""

    def is_like(self, other: Violation) -> bool:
        """Whether it is the same failure as another one, be it of another run, at another time, with other numbers."""
        return (self.invariant, self.signature) == (other.invariant, other.signature)

    def __str__(self) -> str:
        return f"{self.invariant}, at {self.at_s:.3f} s: {self.text}"


@runtime_checkable
class Invariant(Protocol):
    """Something that must hold, watched during one trial.

    Attributes:
        name: what it is called.
    """

    name: str

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """The cluster is whole, and nothing has gone wrong yet."""
        ...

    def take(self, event: TraceEvent) -> None:
        """Something has happened: any event of the trace but those of messages."""
        ...

    def is_settled(self) -> bool:
        """Whether all that it waits for has come; asked again and again in the quiet time, which ends when all do."""
        ...

    async def check(self) -> list[Violation]:
        """Return what was violated; asked once, at the end."""
        ...


class Watch:
    """An `Invariant` that asks for nothing: a base for others.

    Attributes:
        name: what it is called.
        sim: the simulation.
        trial: what is tried.
        violations: what was found so far.
    """

    name: str = ""
    sim: Simulation
    trial: Trial

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Keep what it is about."""
        self.sim, self.trial = sim, trial

    def take(self, event: TraceEvent) -> None:
        """Take no notice."""

    def is_settled(self) -> bool:
        """Wait for nothing."""
        return True

    @staticmethod
    def least_settle_s(profile: str) -> float:
        """Return the least quiet time, in seconds, in which it can be judged with a profile of nodes."""
        return 0.0

    async def check(self) -> list[Violation]:
        """Return what was found."""
        return self.violations

    def violated(self, text: str, *nodes: str, signature: str = "") -> None:
        """Note that something was, which must not be."""
        self.violations.append(
            Violation(invariant=self.name, at_s=self.sim.now, text=text, nodes=list(nodes), signature=signature)
        )
