"""What peers say, bounded before it is passed on.

Invariant: the result is plain data of JSON's types, with texts of at most so many characters that UTF-8 can encode, and
at most so many values, whatever a peer has sent.
"""

from __future__ import annotations

import math
from typing import Any, Final

from trionet.surrogates import without_surrogates

__all__ = ["bounded"]

_DEEPEST: Final = 12
_MOST_NUMBER: Final = 2**53
_MOST_BITS: Final = 128
_CHARS_PER_VALUE: Final = 64
"""A longer text counts as several values."""


def bounded(value: Any, most_values: int, most_chars: int) -> Any:
    """Return a value of a peer as bounded plain data; what is over the bounds is left out, or a null.

    Args:
        value: anything.
        most_values: the most values in it; a text counts as one for each 64 characters.
        most_chars: the most of each text.
    """
    left = [most_values]
    return _bounded(value, left, most_chars, 0)


def _bounded(value: Any, left: list[int], most_chars: int, depth: int) -> Any:
    left[0] -= 1
    if not isinstance(value, dict | list | tuple):
        found = _simple(value, most_chars)
        if type(found) is str:
            left[0] -= len(found) // _CHARS_PER_VALUE
        return found
    if depth >= _DEEPEST:
        return None
    if isinstance(value, dict):
        named: dict[str, Any] = {}
        for key, item in value.items():
            if left[0] <= 0:
                break
            name = _name(key, most_chars)
            left[0] -= len(name) // _CHARS_PER_VALUE
            named[name] = _bounded(item, left, most_chars, depth + 1)
        return named
    items = []
    for item in value:
        if left[0] <= 0:
            break
        items.append(_bounded(item, left, most_chars, depth + 1))
    return items


def _name(key: Any, most_chars: int) -> str:
    found = _simple(key, most_chars)
    return found if type(found) is str else str(found)


def _simple(value: Any, most_chars: int) -> Any:
    match value:
        case str():
            return without_surrogates(value[:most_chars])
        case bool() | None:
            return value
        case int() if abs(value) <= _MOST_NUMBER:
            return value
        case int():  # Python refuses to write a very long one with decimal digits
            return (str(value) if value.bit_length() <= _MOST_BITS else hex(value))[:most_chars]
        case float():
            return value if math.isfinite(value) else None
    return type(value).__name__
