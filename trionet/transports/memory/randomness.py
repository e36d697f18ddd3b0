"""Random numbers of a link: there are as many links as pairs of nodes, and most carry few messages.

A generator of Python's own takes ten times as long to seed as a message takes to judge. Here the numbers are those of
SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), whose state is one number.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any, Final

__all__ = ["LinkRandom"]

_MASK: Final = (1 << 64) - 1
_STEP: Final = 0x9E3779B97F4A7C15
_SCALE: Final = 2.0**-53


class LinkRandom(Random):
    """Random numbers that follow from a text. All that `random.Random` offers comes from `random` here."""

    def __new__(cls, text: str) -> LinkRandom:  # noqa: PYI034  there is no subclass
        """Make one, without the seeding."""
        return super().__new__(cls, 0)  # type: ignore[call-arg]

    def __init__(self, text: str) -> None:
        self._state = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

    def random(self) -> float:
        """Return the next number, at least 0 and less than 1."""
        self._state = state = (self._state + _STEP) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((state ^ (state >> 31)) >> 11) * _SCALE

    def seed(self, *_: Any, **__: Any) -> None:
        """It can't be seeded anew."""
        raise NotImplementedError
