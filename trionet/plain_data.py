"""Plain data made of anything: values that JSON and MessagePack both encode without help, and texts for all others.

Invariant: nothing here raises, whatever the user's classes do, and the result is bounded.
"""

from __future__ import annotations

import math
from typing import Any

from .user_code import attempt

__all__ = ["INT_MAX", "INT_MIN", "PlainData", "as_text", "printable"]

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1

_MAX_TEXT_CHARS = 16_384
_MAX_CHARS = 256 * 1024
_MAX_ITEMS = 10_000
_MAX_DEPTH = 8


def printable(text: str) -> str:
    """Return `text` with escapes for characters that UTF-8 can't encode; for a long text, its end."""
    return str.__str__(text)[-_MAX_TEXT_CHARS:].encode("utf-8", "backslashreplace").decode()[-_MAX_TEXT_CHARS:]


def as_text(value: object) -> str:
    """Return ``str(value)``, printable; of one without a description, its type."""
    nothing = f"({printable(type(value).__qualname__)} without a description)"
    return attempt(lambda: printable(value if isinstance(value, str) else str(value)), default=nothing)


class PlainData:
    """Converts values, within one bound for all of them together.

    Attributes:
        is_exact: whether all values were plain data, and nothing was left out.
    """

    def __init__(self) -> None:
        self.is_exact: bool = True
        self._chars = _MAX_CHARS
        self._items = _MAX_ITEMS

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return `value`, or as much of it as there is room for."""
        kind = type(value)
        self._items -= 1
        if value is None or kind is bool or (kind is int and INT_MIN <= value <= INT_MAX):
            return value
        if kind is float and math.isfinite(value):
            return value
        if depth < _MAX_DEPTH and (kind is list or kind is tuple):
            return [self.of(item, depth + 1) for item in value if self._has_room()]
        if depth < _MAX_DEPTH and kind is dict:
            return {self._text(key): self.of(item, depth + 1) for key, item in value.items() if self._has_room()}
        return self._text(value)

    def _has_room(self) -> bool:
        if self._items > 0 and self._chars > 0:
            return True
        self.is_exact = False
        return False

    def _text(self, value: object) -> str:
        text = as_text(value)
        if type(value) is not str or text != value:
            self.is_exact = False
        self._chars -= len(text)
        return text
