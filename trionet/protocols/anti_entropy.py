"""The messages by which two nodes compare their rumors of a group.

Invariants: two nodes with the same settled rumors find that out from one message of a few dozen bytes; others exchange
the ids of the buckets that differ, and nothing else. A comparison changes nothing; it finds the rumors to pull.

With traffic two sets always differ, by rumors on their way and by those that expired at one node a moment earlier. So
the first message sums up only the *settled* rumors, which its sender has held, and will hold, for a while. And its
receiver ignores a difference that its own unsettled rumors can explain. That is linear algebra over GF(2): they can, if
the difference lies in the span of their hashes, as the exclusive or of some of them. Any other difference lies in the
span of m hashes with a chance of 2 ** (m - 256).

A node that is new to a group has missed unsettled entries of others, and gets no announcement of them any more. So in
its first comparisons all entries count as settled.

Source: Demers et al. 1987, section 1.3: checksums first, then recent updates, then contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .gossip_messages import BUCKET_BYTES, BUCKETS, IDS_PER_MESSAGE, TOTAL_BYTES, Buckets, Listing, Summary, split
from .rumors import HeldEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .rumors import Held, RumorGroup

__all__ = [
    "answer_buckets",
    "answer_summary",
    "differing",
    "in_span",
    "is_explained",
    "missing_from",
    "packed",
    "summary",
]

_MOST_UNSETTLED: Final = 200
_LOW: Final = (1 << 8 * BUCKET_BYTES) - 1
_MOST_LISTINGS: Final = 16
_MOST_MISSING: Final = 16 * IDS_PER_MESSAGE


def in_span(target: int, vectors: Iterable[int]) -> bool:
    """Return whether `target` is the exclusive or of some of `vectors`."""
    basis: list[int] = []  # with different highest bits
    for vector in vectors:
        rest = _reduced(vector, basis)
        if rest:
            basis.append(rest)
    return _reduced(target, basis) == 0


def _reduced(vector: int, basis: list[int]) -> int:
    for one in basis:
        vector = min(vector, vector ^ one)  # the smaller one lacks the highest bit of `one`
    return vector


def packed(totals: Sequence[int]) -> bytes:
    """Return the encoding of bucket totals: their low bits, without trailing zeros."""
    joined = b"".join((total & _LOW).to_bytes(BUCKET_BYTES, "big") for total in totals)
    length = len(joined.rstrip(b"\0"))
    return joined[: -(-length // BUCKET_BYTES) * BUCKET_BYTES]


def differing(totals: Sequence[int], message: bytes) -> list[int]:
    """Return the buckets that differ from those in a message."""
    whole = message.ljust(len(totals) * BUCKET_BYTES, b"\0")
    parts = (whole[start : start + BUCKET_BYTES] for start in range(0, len(totals) * BUCKET_BYTES, BUCKET_BYTES))
    return [
        index
        for index, (total, part) in enumerate(zip(totals, parts, strict=True))
        if total & _LOW != int.from_bytes(part, "big")
    ]


def summary(group: RumorGroup, settle_s: float, now: float, *, is_new: bool = False) -> Summary:
    """Return the first message of a comparison; `is_new` as in `Summary`."""
    total = group.digest.total
    for number in _unsettled(group, settle_s, now, is_new=is_new):
        total ^= number
    return Summary(group.gid, total.to_bytes(TOTAL_BYTES, "big"), is_new)


def is_explained(difference: int, group: RumorGroup, settle_s: float, now: float, *, is_new: bool = False) -> bool:
    """Return whether unsettled rumors can explain the difference between a summary and this node's digest.

    A rumor that is unsettled at the sender came here within twice the settling time, or expires within it.
    """
    if difference == 0:
        return True
    unsettled = _unsettled(group, 2 * settle_s, now, is_new=is_new)
    return len(unsettled) <= _MOST_UNSETTLED and in_span(difference, unsettled)


def _unsettled(group: RumorGroup, settle_s: float, now: float, *, is_new: bool) -> list[int]:
    """Return the hashes of the rumors, and of entries if not `is_new`, that came, or will expire, within `settle_s`."""
    found = (*group.received_since(now - settle_s), *group.expiring_before(now + settle_s))
    return list({held.id: held.hashed for held in found if not (is_new and isinstance(held, HeldEntry))}.values())


def _settled(group: RumorGroup, settle_s: float, now: float, *, is_new: bool) -> Iterator[Held | HeldEntry]:
    """Return the rumors and entries that came before `settle_s`, and later entries if `is_new`."""
    for held in group.held.values():
        if held.received_at <= now - settle_s or (is_new and isinstance(held, HeldEntry)):
            yield held
        elif not is_new:
            break  # later ones probably reach the other node by themselves


def answer_summary(group: RumorGroup, message: Summary, settle_s: float, now: float) -> list[Listing] | list[Buckets]:
    """Return the answers to a summary: none, all ids if they are few, or the bucket totals."""
    difference = group.digest.total ^ int.from_bytes(message.total, "big")
    if is_explained(difference, group, settle_s, now, is_new=message.is_new):
        return []
    if len(group.held) <= IDS_PER_MESSAGE:
        return _listings(group, list(range(BUCKETS)), settle_s, now, is_new=message.is_new)
    return [Buckets(group.gid, packed(group.digest.buckets))]


def answer_buckets(group: RumorGroup, message: Buckets, settle_s: float, now: float) -> list[Listing]:
    """Return the ids of the buckets that differ, or of some of these."""
    return _listings(group, differing(group.digest.buckets, message.totals), settle_s, now)


def _listings(
    group: RumorGroup, buckets: list[int], settle_s: float, now: float, *, is_new: bool = False
) -> list[Listing]:
    """Return the settled ids of some buckets, in a bounded number of messages with whole buckets if possible."""
    group.members.random.shuffle(buckets)  # the next comparison covers others
    in_bucket: dict[int, list[bytes]] = {bucket: [] for bucket in buckets}
    for held in _settled(group, settle_s, now, is_new=is_new):
        bucket = held.hashed % BUCKETS
        if bucket in in_bucket:
            in_bucket[bucket].append(held.id)
    found: list[Listing] = []
    mask, ids = 0, list[bytes]()
    for bucket, more in in_bucket.items():
        if mask and len(ids) + len(more) > IDS_PER_MESSAGE:
            found.append(_listing(group, mask, ids))
            mask, ids = 0, []
        mask |= 1 << bucket
        ids += more
    if mask:
        found.append(_listing(group, mask, ids))
    return found[:_MOST_LISTINGS]


def _listing(group: RumorGroup, mask: int, ids: list[bytes]) -> Listing:
    if len(ids) <= IDS_PER_MESSAGE:
        return Listing(group.gid, mask, b"".join(ids))
    return Listing(group.gid, mask, b"".join(group.members.random.sample(ids, IDS_PER_MESSAGE)), is_whole=False)


def missing_from(group: RumorGroup, message: Listing, settle_s: float, now: float) -> list[bytes]:
    """Return the ids of the settled rumors that the sender of a listing lacks, or may lack."""
    listed = set(split(message.ids))
    settled = _settled(group, settle_s, now, is_new=False)
    missing = [held.id for held in settled if message.mask >> held.hashed % BUCKETS & 1 and held.id not in listed]
    most = _MOST_MISSING if message.is_whole else IDS_PER_MESSAGE
    return missing if len(missing) <= most else group.members.random.sample(missing, most)
