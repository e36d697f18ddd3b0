"""Random numbers for each directed pair of nodes.

There are many pairs, and most carry few messages. To seed a generator of Python's is ten times slower than to judge a
message, and it has 2.5 KB. Here the numbers are a hash of the pair's text and a counter, eight at a time, because eight
cost about as much as one.

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
"""The precision of `random`, and of all floats."""

_SCALE: Final = 2.0**-_BITS


class LinkRandom(Random):
    """Random numbers derived from a text. All methods of `random.Random` use its `random`.

    It can be copied, and its state restored; it can't be seeded again.
    """

    gauss_next: float | None = None  # the second number of `gauss`

    def __new__(cls, text: str) -> LinkRandom:  # noqa: PYI034  there is no subclass
        """Create one without seeding the base class."""
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
        """Return the state, for `setstate`."""
        return self._seed, self._count, tuple(self._numbers), self.gauss_next

    def setstate(self, state: tuple[Any, ...]) -> None:
        """Restore a state of `getstate`, from this generator or another one."""
        self._seed, self._count, numbers, self.gauss_next = state
        self._numbers = list(numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        return LinkRandom, ("",), self.getstate()

    def seed(self, *_: Any, **__: Any) -> None:
        """Raise: it can't be seeded again."""
        raise NotImplementedError


class RandomByTarget(dict["NodeAddress", Random]):
    """The random numbers for one node's messages, by target; created on first use."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def __missing__(self, target: NodeAddress) -> Random:
        random = self[target] = LinkRandom(f"{self._text} {target}")
        return random
