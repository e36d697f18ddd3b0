"""The order in which Maelstrom sorts JSON values, and the values that it can't compare.

Null comes before all else; numbers are ordered among themselves, and so are texts, truth values, and lists: shorter
ones first, then item by item. Any other pair ends Maelstrom's checker with an exception. Source: Clojure's ``compare``.
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["are_comparable", "compare"]


def compare(one: Any, other: Any) -> int:
    """Return a negative number, 0 or a positive number, as the first value is smaller, equal or greater.

    Raises:
        TypeError: they have no order.
    """
    if one is None or other is None:
        return (one is not None) - (other is not None)
    kind = _kind(one)
    if kind is not _kind(other) or kind is dict:
        raise TypeError(f"{one!r:.40} and {other!r:.40} have no order")
    if kind is not list:
        return int(one > other) - int(one < other)
    if len(one) != len(other):
        return len(one) - len(other)
    return next((order for pair in zip(one, other, strict=True) if (order := compare(*pair))), 0)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def are_comparable(values: Iterable[Any]) -> bool:
    """Return whether the least and the greatest of some values can be found, and the values be sorted."""
    given = list(values)
    if len({_kind(value) for value in given} - {float, str, bool}) == 0 and len({_kind(value) for value in given}) <= 1:
        return True
    try:
        for function in (min, max, sorted):
            function(given, key=cmp_to_key(compare))
    except TypeError:
        return False
    return True
