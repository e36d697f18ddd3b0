"""Keeps what a user's invariant raises from ending the trial: it becomes a violation, under the invariant's own name.

Invariant: once something was raised, the guarded one isn't told of anything any more, and nobody waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.user_code import pass_endings

from .invariants import Violation
from .raised import shown, signature_of

if TYPE_CHECKING:
    from .cluster import Simulation
    from .invariants import Invariant
    from .trace import TraceEvent
    from .trials import Trial

__all__ = ["Guarded"]


class Guarded:
    """An `Invariant` around another one.

    Attributes:
        name: the other one's.
    """

    def __init__(self, guarded: Invariant) -> None:
        self.name: str = guarded.name
        self._guarded = guarded
        self._failure: Violation | None = None

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Let the other one begin."""
        self._sim = sim
        try:
            self._guarded.begin(sim, trial)
        except BaseException as exc:
            self._fail(exc)

    def take(self, event: TraceEvent) -> None:
        """Tell the other one."""
        if self._failure is None:
            try:
                self._guarded.take(event)
            except BaseException as exc:
                self._fail(exc)

    def is_settled(self) -> bool:
        """Ask the other one."""
        try:
            return self._failure is not None or self._guarded.is_settled()
        except BaseException as exc:
            self._fail(exc)
            return True

    async def check(self) -> list[Violation]:
        """Return what the other one has found, or else what it raised."""
        if self._failure is None:
            try:
                return self._found(await self._guarded.check())
            except BaseException as exc:
                self._fail(exc)
        return [] if self._failure is None else [self._failure]

    def _found(self, found: object) -> list[Violation]:
        if not isinstance(found, list) or not all(isinstance(one, Violation) for one in found):
            raise TypeError(f"check() returned {found!r:.100}, which is no list of Violations")
        return found

    def _fail(self, exc: BaseException) -> None:
        pass_endings(exc)
        self._failure = Violation(invariant=self.name, at_s=self._sim.now, text=shown(exc), signature=signature_of(exc))
