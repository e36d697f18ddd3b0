"""Short digests of sets, by which two nodes find out whether, and about where, their sets differ.

Invariant: a digest depends on what is in the set and on nothing else: not on the order in which it came, nor on the
process. Two different sets have one digest with a chance of 2 ** -64 per bucket; it is no defence against someone who
chooses the elements.

Source: the anti-entropy of Demers et al. 1987, section 1.3 (checksums, exchanged before contents), here with a number
of buckets, so that only the part that differs is exchanged.
"""

from __future__ import annotations

import functools
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Digest", "hash64", "hash_of_name"]


def hash64(data: bytes) -> int:
    """Return 64 bits that depend on `data` alone."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


@functools.lru_cache(maxsize=1 << 14)
def hash_of_name(name: str) -> int:
    """Return 64 bits that depend on a name alone; one number for all nodes of a process that know the name."""
    return hash64(name.encode(errors="replace"))


class Digest:
    """The digest of a set that changes.

    Attributes:
        buckets: for each bucket, the exclusive or of the hashes of its elements.
        total: the same over all buckets.
    """

    __slots__ = ("buckets", "total")

    def __init__(self, count: int) -> None:
        """Begin with an empty set, in `count` buckets."""
        self.buckets: list[int] = [0] * count
        self.total: int = 0

    def toggle(self, hashed: int) -> None:
        """Add the element with this hash, or take it away when it is in."""
        self.buckets[hashed % len(self.buckets)] ^= hashed
        self.total ^= hashed

    def differing(self, others: Sequence[int]) -> list[int]:
        """Return the buckets that aren't the same in another digest; those that the other hasn't got count as empty."""
        padded = [*others[: len(self.buckets)], *[0] * (len(self.buckets) - len(others))]
        return [index for index, (own, other) in enumerate(zip(self.buckets, padded, strict=True)) if own != other]
