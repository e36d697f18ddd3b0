"""The built-in invariants, and the forms of a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError
from trionet.import_paths import import_reference

from .agreement import GossipReachesAll, GroupsFollowRules, MembershipConverges
from .endings import NoHandlerOutlivesItsCaller, NoOrphan
from .invariants import Invariant, Watch
from .raised import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cluster import Simulation
    from .invariants import Violation

__all__ = ["INVARIANTS", "invariant_of"]

INVARIANTS: Final[dict[str, type[Watch]]] = {
    kind.name: kind
    for kind in (MembershipConverges, GroupsFollowRules, GossipReachesAll, NoHandlerOutlivesItsCaller, NoOrphan)
}
"""The built-in invariants by name; they hold in every correct cluster, under all faults."""


class _Function(Watch):
    """A user's function, called at the end."""

    def __init__(self, function: Callable[[Simulation], Any], name: str) -> None:
        super().__init__()
        self._function = function
        self.name = name

    async def check(self) -> list[Violation]:
        try:
            found = self._function(self.sim)
            if inspect.isawaitable(found):
                found = await found
        except AssertionError as exc:
            self.violated(str(exc) or "an assertion failed", signature=signature_of(exc))
            return self.violations
        for text in self._sentences(found):
            self.violated(text)
        return self.violations

    def _sentences(self, found: object) -> list[str]:
        """Return the violations in a function's result."""
        match found:
            case None | True:
                return []
            case False:
                return [f"{self.name} returned False"]
            case str():
                return [found] if found else []
            case Collection() if all(isinstance(text, str) for text in found):
                return list(found)
        return [
            f"{self.name} returned {found!r:.100}: an invariant returns None or True if it holds, else False,"
            " a sentence or several"
        ]


def invariant_of(invariant: Any) -> Invariant:
    """Return an invariant, new for each trial.

    Args:
        invariant: the name of one of `INVARIANTS`; an import path ``"package.module:name"``, or the object itself: a
            class, which is called without arguments; an `Invariant`; or a function of the `Simulation`, sync or async,
            which is called at the end. It returns None or True if the invariant holds. To report a violation it
            returns False, a sentence or several, or fails an assertion.

    Raises:
        ConfigError: there is no such invariant, or the object is none.
    """
    name = getattr(invariant, "__name__", "")
    if isinstance(invariant, str):
        if ":" not in invariant and invariant not in INVARIANTS:
            raise ConfigError(
                f"no invariant {invariant!r}: there are {', '.join(INVARIANTS)}, and your own 'module:name'"
            )
        name, invariant = invariant, INVARIANTS.get(invariant) or import_reference(invariant)
    if isinstance(invariant, type):
        invariant = invariant()
    if isinstance(invariant, Invariant):
        if not invariant.name:
            invariant.name = name or type(invariant).__name__
        return invariant
    if not callable(invariant):
        raise ConfigError(f"{name or invariant!r:.100} is neither an Invariant nor a function")
    return _Function(invariant, name)
