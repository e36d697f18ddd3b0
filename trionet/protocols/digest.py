"""Short digests of sets, which show whether, and in which buckets, two sets differ.

Invariant: a digest depends on the elements alone, not on their order or on the process. Two different sets have equal
digests with a chance of 2 ** -64 per bucket. It is no defence against chosen elements.

Source: the anti-entropy of Demers et al. 1987, section 1.3 (checksums, exchanged before contents); the buckets limit
the exchange to the part that differs.
"""

from __future__ import annotations

import functools
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BUCKETS", "Digest", "hash64", "hash_of_name"]

BUCKETS: Final = 64
"""A digest of this size fits a datagram, and a bucket of 10,000 members has a few kilobytes."""


def hash64(data: bytes) -> int:
    """Return a hash of `data`, of 64 bits."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


@functools.lru_cache(maxsize=1 << 14)
def hash_of_name(name: str) -> int:
    """Return a hash of a name, of 64 bits; all nodes of a process share the int."""
    return hash64(name.encode(errors="replace"))


class Digest:
    """The digest of a changing set.

    Attributes:
        buckets: the exclusive or of the hashes in each bucket.
        total: the exclusive or of all hashes.
    """

    __slots__ = ("buckets", "total")

    def __init__(self, count: int) -> None:
        """Start with an empty set, in `count` buckets."""
        self.buckets: list[int] = [0] * count
        self.total: int = 0

    def toggle(self, hashed: int) -> None:
        """Add the element with this hash, or remove it if it is there."""
        self.buckets[hashed % len(self.buckets)] ^= hashed
        self.total ^= hashed

    def differing(self, others: Sequence[int]) -> list[int]:
        """Return the buckets that differ in another digest, whose missing buckets count as empty."""
        padded = [*others[: len(self.buckets)], *[0] * (len(self.buckets) - len(others))]
        return [index for index, (own, other) in enumerate(zip(self.buckets, padded, strict=True)) if own != other]
