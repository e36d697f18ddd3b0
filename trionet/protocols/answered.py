"""Recent answers, so that a repeated request isn't answered again at once.

Invariant: within one window a source gets each answer once, and a bounded size of payloads in all, however its requests
are split into messages and packets. A node that asks again, because an answer was lost, waits longer than a window.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from .recent import remember

__all__ = ["MOST_ANSWER_BYTES", "Answered"]

MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""The most bytes for one source within a window; a longer rumor is sent alone."""

_MOST_SOURCES: Final = 1024
_MOST_KEYS: Final = 4096


class _Window(msgspec.Struct, eq=False):
    until: float
    keys: set[Hashable] = msgspec.field(default_factory=set)
    left_bytes: int = MOST_ANSWER_BYTES


class Answered:
    """The answers to each source within its window."""

    __slots__ = ("_window_s", "_windows")

    def __init__(self, window_s: float) -> None:
        """Use windows of `window_s`; each begins with the first question after the one before."""
        self._window_s = window_s
        self._windows: dict[str, _Window] = {}

    def is_due(self, source: str, key: Hashable, now: float, size: int = 0) -> bool:
        """Return whether `source` may get the answer `key`, of `size` bytes; if so, it counts as sent."""
        window = self._windows.get(source)
        if window is None or now >= window.until:
            window = _Window(now + self._window_s)
            remember(self._windows, source, window, _MOST_SOURCES)
        is_first = window.left_bytes == MOST_ANSWER_BYTES
        if key in window.keys or len(window.keys) >= _MOST_KEYS or (size > window.left_bytes and not is_first):
            return False
        window.keys.add(key)
        window.left_bytes -= size
        return True
