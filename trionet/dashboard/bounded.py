"""What peers say, bounded before it is passed on.

Invariant: the result is plain data of JSON's types, with texts of at most so many characters, and at most so many
values, whatever a peer has sent.
"""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["bounded"]

_DEEPEST: Final = 12
_MOST_NUMBER: Final = 2**53


def bounded(value: Any, most_values: int, most_chars: int) -> Any:
    """Return a value of a peer as bounded plain data; what is over the bounds is left out, or a null.

    Args:
        value: anything.
        most_values: the most values in it.
        most_chars: the most of each text.
    """
    left = [most_values]
    return _bounded(value, left, most_chars, 0)


def _bounded(value: Any, left: list[int], most_chars: int, depth: int) -> Any:
    left[0] -= 1
    if not isinstance(value, dict | list | tuple):
        return _simple(value, most_chars)
    if depth >= _DEEPEST:
        return None
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for name, item in value.items():
            if left[0] <= 0:
                break
            found[str(name)[:most_chars]] = _bounded(item, left, most_chars, depth + 1)
        return found
    items = []
    for item in value:
        if left[0] <= 0:
            break
        items.append(_bounded(item, left, most_chars, depth + 1))
    return items


def _simple(value: Any, most_chars: int) -> Any:
    match value:
        case str():
            return value[:most_chars]
        case bool() | None:
            return value
        case int():
            return value if abs(value) <= _MOST_NUMBER else str(value)[:most_chars]
        case float():
            return value if math.isfinite(value) else None
    return type(value).__name__
