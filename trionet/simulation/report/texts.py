"""Texts and times as a page has them: texts cut, and times in whole microseconds since the simulation began."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["micro", "shown"]

_MOST_CHARACTERS: Final = 400
_MICROSECONDS: Final = 1_000_000


def shown(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Return a text that UTF-8 can encode, cut to `most` characters."""
    if len(text) <= most and text.isascii():
        return text  # nearly always
    whole = text[:most] + "…" * (len(text) > most)
    return whole.encode("utf-8", "replace").decode()


def micro(seconds: float) -> int:
    """Return a time in microseconds; 0 for what is no time, as in a violation that a program has made up."""
    return round(seconds * _MICROSECONDS) if math.isfinite(seconds) else 0
