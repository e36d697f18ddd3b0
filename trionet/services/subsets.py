"""The number of members of a group that a rumor is pushed to, as users set it.

Invariant: invalid values are refused when they are set; larger numbers mean all members.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, SupportsIndex

from trionet.errors import ConfigError, MalformedRequest
from trionet.import_paths import import_reference
from trionet.user_code import pass_endings, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import SID

__all__ = ["checked_subset"]


class _CachedSubset:
    """A function of the user's, with its last result cached."""

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
            raise MalformedRequest(f"subset gives a number of members, not {shown(value, 80)}")
        return value.__index__()


def checked_subset(subset: Any, sids: list[SID]) -> int | Callable[[list[SID]], int] | None:
    """Return the number of members, a function that returns it, or None for the default.

    Args:
        subset: a number that isn't negative, a function of the list of SIDs, its import path, or None.
        sids: the current members. An exception of the function is no error here: it may succeed later.

    Raises:
        MalformedRequest: it is none of these, or does not return a number.
    """
    if subset is None or (type(subset) is int and subset >= 0):
        return subset
    try:
        function = import_reference(subset) if isinstance(subset, str) else subset
    except ConfigError as exc:
        raise MalformedRequest(f"subset: {exc.text}") from exc
    if not callable(function):
        raise MalformedRequest(f"subset is a number >= 0, a function, or its import path, not {shown(subset, 80)}")
    cached = _CachedSubset(function)
    try:
        cached(sids)
    except MalformedRequest:
        raise
    except BaseException as exc:
        pass_endings(exc)
    return cached
