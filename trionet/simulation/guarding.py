"""Turns an exception of a user's invariant into a violation under the invariant's name, so that the trial continues.

Invariant: after an exception the guarded invariant is called no more, and the trial doesn't wait for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from trionet.user_code import pass_endings

from .invariants import Violation
from .raised import shown, signature_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from .cluster import Simulation
    from .invariants import Invariant
    from .trace import TraceEvent
    from .trials import Trial

__all__ = ["Guarded"]


class Guarded:
    """An `Invariant` around another one.

    Attributes:
        name: the name of the other one.
    """

    def __init__(self, guarded: Invariant) -> None:
        self.name: str = guarded.name
        self._guarded = guarded
        self._failure: Violation | None = None

    @contextmanager
    def _guard(self) -> Generator[None]:
        try:
            yield
        except BaseException as exc:
            pass_endings(exc)
            self._failure = Violation(
                invariant=self.name, at_s=self._sim.now, text=shown(exc), signature=signature_of(exc)
            )

    def begin(self, sim: Simulation, trial: Trial) -> None:
        """Begin the other one."""
        self._sim = sim
        with self._guard():
            self._guarded.begin(sim, trial)

    def take(self, event: TraceEvent) -> None:
        """Pass an event on."""
        if self._failure is None:
            with self._guard():
                self._guarded.take(event)

    def is_settled(self) -> bool:
        """Whether the other one is settled, or has failed."""
        if self._failure is None:
            with self._guard():
                return self._guarded.is_settled()
        return True

    async def check(self) -> list[Violation]:
        """Return the violations of the other one, or else its exception."""
        if self._failure is None:
            with self._guard():
                found: object = await self._guarded.check()
                if isinstance(found, list) and all(isinstance(one, Violation) for one in found):
                    return found
                raise TypeError(f"check() returned {found!r:.100}, which is no list of Violations")
        return [] if self._failure is None else [self._failure]
