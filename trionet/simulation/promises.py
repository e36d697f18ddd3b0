"""Which invariants there are, and what a user's own may be."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError
from trionet.import_paths import import_reference

from .agreement import GossipReachesAll, MembershipConverges
from .endings import NoHandlerOutlivesItsCaller, NoOrphan
from .invariants import Invariant, Watch
from .raised import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cluster import Simulation
    from .invariants import Violation

__all__ = ["INVARIANTS", "invariant_of"]

INVARIANTS: Final[dict[str, type[Watch]]] = {
    kind.name: kind for kind in (MembershipConverges, GossipReachesAll, NoHandlerOutlivesItsCaller, NoOrphan)
}
"""What trionet promises, by name."""


class _Function(Watch):
    """A function of the user's, called at the end."""

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
        """Return what is wrong by what the function has returned."""
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
            f"{self.name} returned {found!r:.100}: an invariant returns None or True where all is well, and else False,"
            " a sentence or several"
        ]


def invariant_of(what: Any) -> Invariant:
    """Return the invariant that is meant, new for each trial.

    Args:
        what: the name of one of `INVARIANTS`; an import path ``"package.module:name"``, or what that names: a class,
            which is called without arguments; an `Invariant`; or a function of the `Simulation`, sync or async, which
            is called at the end. It returns None or True where all is well; what is wrong it says by returning False,
            a sentence or several, or by failing an assertion.

    Raises:
        ConfigError: there is no such thing, or it is none.
    """
    name = getattr(what, "__name__", "")
    if isinstance(what, str):
        if ":" not in what and what not in INVARIANTS:
            raise ConfigError(f"no invariant {what!r}: there are {', '.join(INVARIANTS)}, and your own 'module:name'")
        name, what = what, INVARIANTS.get(what) or import_reference(what)
    if isinstance(what, type):
        what = what()
    if isinstance(what, Invariant):
        if not what.name:
            what.name = name or type(what).__name__
        return what
    if not callable(what):
        raise ConfigError(f"{name or what!r:.100} is neither an Invariant nor a function")
    return _Function(what, name)
