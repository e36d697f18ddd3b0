"""The counters that were received from one sender.

Invariant: a counter is accepted at most once; one at or below the start, or `WINDOW` or more below the greatest one,
never.

Source: RFC 6479, section 3.3: a ring of words that is one word longer than the window, so that the window moves by
clearing whole words, without shifting bits.
"""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["WINDOW", "ReplayWindow"]

WINDOW: Final = 8128
"""How far a datagram may fall behind later ones: 8,192 bits less the word that may be cleared only in part."""

_WORD: Final = 64
_WORDS: Final = (WINDOW + _WORD) // _WORD
_NOTHING: Final = bytes(_WORDS * _WORD // 8)


class ReplayWindow:
    """A window of received counters.

    Attributes:
        start: no counter up to it is accepted.
        greatest: the greatest counter that was received, or else the start.
    """

    __slots__ = ("_seen", "greatest", "start")

    def __init__(self, start: int) -> None:
        """Accept counters over `start`; all up to it count as received."""
        self.start: int = start
        self.greatest: int = start
        self._seen = array("Q", _NOTHING)

    def is_new(self, counter: int) -> bool:
        """Return whether `counter` would be accepted. Changes nothing, so it may precede the authentication."""
        if counter > self.greatest:
            return True
        if counter <= self.start or counter <= self.greatest - WINDOW:
            return False
        return not self._seen[counter // _WORD % _WORDS] >> counter % _WORD & 1

    def accept(self, counter: int) -> bool:
        """Return whether `counter` is new, and count it as received. It must be authenticated."""
        if not self.is_new(counter):
            return False
        if counter > self.greatest:
            self._advance(counter)
        self._seen[counter // _WORD % _WORDS] |= 1 << counter % _WORD
        return True

    def raise_start(self, start: int) -> None:
        """Accept no counter up to `start` from now on."""
        self.start = max(self.start, start)
        if start > self.greatest:
            self._advance(start)

    def _advance(self, greatest: int) -> None:
        first, last = self.greatest // _WORD + 1, greatest // _WORD
        for word in range(max(first, last - _WORDS + 1), last + 1):
            self._seen[word % _WORDS] = 0
        self.greatest = greatest
