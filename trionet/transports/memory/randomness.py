"""Random numbers of a link: there are as many links as pairs of nodes, and most carry few messages.

A generator of Python's own takes ten times as long to seed as a message takes to judge, and has 2.5 KB. Here the
numbers are a hash of the link's text and of a counter, eight at a time, since that takes about as long as one.

Source: the hash is BLAKE2b (RFC 7693), used in counter mode as in NIST SP 800-90A's generators.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["LinkRandom", "RandomByTarget"]

_unpack: Final = Struct("<8Q").unpack
_SEED_BYTES: Final = 16
_COUNT_BYTES: Final = 8
_BITS: Final = 53
"""Of a number that `random` gives, as of all floats."""

_SCALE: Final = 2.0**-_BITS


class LinkRandom(Random):
    """Random numbers that follow from a text. All that `random.Random` offers comes from `random` here.

    Like any other one it can be copied, and put back into a state; but it can't be seeded anew.
    """

    gauss_next: float | None = None  # where `gauss` keeps its second number

    def __new__(cls, text: str) -> LinkRandom:  # noqa: PYI034  there is no subclass
        """Make one, without the seeding."""
        return super().__new__(cls, 0)  # type: ignore[call-arg]

    def __init__(self, text: str) -> None:
        self._seed = blake2b(text.encode(), digest_size=_SEED_BYTES).digest()
        self._count = 0
        self._numbers: list[float] = []

    def random(self) -> float:
        """Return the next number, at least 0 and less than 1."""
        numbers = self._numbers
        return numbers.pop() if numbers else self._next_of_more()

    def _next_of_more(self) -> float:
        self._count += 1
        digest = blake2b(self._seed + self._count.to_bytes(_COUNT_BYTES, "little")).digest()
        self._numbers = [(number >> 11) * _SCALE for number in _unpack(digest)]
        return self._numbers.pop()

    def getrandbits(self, k: int, /) -> int:
        """Return a number of `k` random bits.

        Raises:
            ValueError: `k` is negative.
        """
        if k < 0:
            raise ValueError("there is no negative number of bits")
        number = 0
        for _ in range(-(-k // _BITS)):
            number = number << _BITS | int(self.random() / _SCALE)
        return number >> -k % _BITS

    def getstate(self) -> tuple[Any, ...]:
        """Return what `setstate` takes."""
        return self._seed, self._count, tuple(self._numbers), self.gauss_next

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Go on from where the numbers were at `getstate`, of this link's or another one's."""
        self._seed, self._count, numbers, self.gauss_next = state
        self._numbers = list(numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        return LinkRandom, ("",), self.getstate()

    def seed(self, *_: Any, **__: Any) -> None:
        """It can't be seeded anew."""
        raise NotImplementedError


class RandomByTarget(dict["NodeAddress", Random]):
    """The random numbers of what one node sends, by where it goes; made when they are first asked for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def __missing__(self, target: NodeAddress) -> Random:
        random = self[target] = LinkRandom(f"{self._text} {target}")
        return random
