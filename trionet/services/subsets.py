"""How many members of a group a rumor is pushed to: what users may give for it, and what the protocol gets.

Invariant: what can't be a number of members is refused when it is given. What the number is beyond that is clamped to
the members that there are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, SupportsIndex

from trionet.errors import ConfigError, MalformedRequest
from trionet.import_paths import import_reference
from trionet.user_code import pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import SID

__all__ = ["checked_subset"]


class _Asked:
    """A function of the user's, which is not asked twice about the same members."""

    def __init__(self, function: Callable[[list[SID]], Any]) -> None:
        self._function = function
        self._last: tuple[list[SID], Any] | None = None

    def __call__(self, sids: list[SID]) -> int:
        if self._last is None or self._last[0] != sids:
            self._last = sids, self._function(list(sids))
        value = self._last[1]
        if isinstance(value, float) and math.isfinite(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise MalformedRequest(f"subset gives a number of members, not {_shown(value)}")
        return value.__index__()


def checked_subset(subset: Any, sids: list[SID]) -> int | Callable[[list[SID]], int] | None:
    """Return what `subset` says: a number, a function that gives one, or None for the default.

    Args:
        subset: a number that isn't negative, a function of the list of SIDs, its import path, or None.
        sids: the members as they are now. A function that raises is no mistake of the caller's: it may do better later.

    Raises:
        MalformedRequest: it is none of these, or gives something else than a number.
    """
    if subset is None or (type(subset) is int and subset >= 0):
        return subset
    try:
        function = import_reference(subset) if isinstance(subset, str) else subset
    except ConfigError as exc:
        raise MalformedRequest(f"subset: {exc.text}") from exc
    if not callable(function):
        raise MalformedRequest(f"subset is a number >= 0, a function, or its import path, not {_shown(subset)}")
    asked = _Asked(function)
    try:
        asked(sids)
    except MalformedRequest:
        raise
    except BaseException as exc:
        pass_endings(exc)
    return asked


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except BaseException as exc:
        pass_endings(exc)
        return f"a {type(value).__name__}"
