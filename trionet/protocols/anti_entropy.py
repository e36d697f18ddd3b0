"""Comparing what two nodes hold: the part of gossip that is for certainty.

Invariants: two nodes that hold the same settled rumors find that out from one message of a few dozen bytes; two that
don't exchange the ids of the buckets that differ, and nothing else. A comparison changes nothing; it says what to pull.

Rumors that are on their way, and those that one node has let go of some moments before the other, make two sets
differ all the time while there is traffic. So the first message sums up the *settled* ones only, those that its sender
has held for a while and will hold for a while yet; and the receiver takes a difference as none that rumors of its own
which may not be settled can explain. Whether they can is linear algebra over GF(2): the difference is the exclusive
or of some of them exactly if it lies in their span. Another difference lies in the span of m of them with a chance of
2 ** (m - 256).

Source: Demers et al. 1987, section 1.3: checksums first, then recent updates, then contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .gossip_messages import BUCKET_BYTES, BUCKETS, IDS_PER_MESSAGE, TOTAL_BYTES, Buckets, Listing, Summary, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .rumors import RumorGroup

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
    """Tell whether `target` is the exclusive or of some of `vectors`."""
    basis: list[int] = []  # each with a highest bit of its own
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
    """Return bucket totals as they are in a message: their low bits, trailing zeros left out."""
    joined = b"".join((total & _LOW).to_bytes(BUCKET_BYTES, "big") for total in totals)
    length = len(joined.rstrip(b"\0"))
    return joined[: -(-length // BUCKET_BYTES) * BUCKET_BYTES]


def differing(totals: Sequence[int], message: bytes) -> list[int]:
    """Return the buckets that aren't the same in a message."""
    whole = message.ljust(len(totals) * BUCKET_BYTES, b"\0")
    parts = (whole[start : start + BUCKET_BYTES] for start in range(0, len(totals) * BUCKET_BYTES, BUCKET_BYTES))
    return [
        index
        for index, (total, part) in enumerate(zip(totals, parts, strict=True))
        if total & _LOW != int.from_bytes(part, "big")
    ]


def summary(group: RumorGroup, settle_s: float, now: float) -> Summary:
    """Return the first message of a comparison."""
    total = group.digest.total
    for number in _unsettled(group, settle_s, now):
        total ^= number
    return Summary(group.gid, total.to_bytes(TOTAL_BYTES, "big"))


def is_explained(difference: int, group: RumorGroup, settle_s: float, now: float) -> bool:
    """Tell whether a difference between another node's summary and this node's digest may be nothing.

    What the other one's sum leaves out, because it hasn't settled there, has come here at most twice as long ago, or
    ends at most twice as late.
    """
    if difference == 0:
        return True
    unsettled = _unsettled(group, 2 * settle_s, now)
    return len(unsettled) <= _MOST_UNSETTLED and in_span(difference, unsettled)


def _unsettled(group: RumorGroup, settle_s: float, now: float) -> list[int]:
    """Return the ids, as numbers, of what came within the time or ends within it."""
    came, going = group.received_since(now - settle_s), group.expiring_before(now + settle_s)
    if not came and not going:
        return []
    return [held.hashed for held in {held.id: held for held in (*came, *going)}.values()]


def answer_summary(group: RumorGroup, message: Summary, settle_s: float, now: float) -> list[Listing] | list[Buckets]:
    """Return what to answer the first message with: nothing, all ids where they are few, or the sums of the buckets."""
    difference = group.digest.total ^ int.from_bytes(message.total, "big")
    if is_explained(difference, group, settle_s, now):
        return []
    if len(group.held) <= IDS_PER_MESSAGE:
        return _listings(group, list(range(BUCKETS)), settle_s, now)
    return [Buckets(group.gid, packed(group.digest.buckets))]


def answer_buckets(group: RumorGroup, message: Buckets, settle_s: float, now: float) -> list[Listing]:
    """Return the ids of the buckets that differ, or of some of them."""
    return _listings(group, differing(group.digest.buckets, message.totals), settle_s, now)


def _listings(group: RumorGroup, buckets: list[int], settle_s: float, now: float) -> list[Listing]:
    """Return the settled ids of some buckets: as many whole buckets to a message as fit, and not too many messages."""
    group.members.random.shuffle(buckets)  # the next comparison gets to what this one leaves out
    in_bucket: dict[int, list[bytes]] = {bucket: [] for bucket in buckets}
    for held in group.held.values():
        if held.received_at > now - settle_s:
            break  # what comes now, comes to the other one by itself
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
    """Return the ids of what this node holds, settled, and the sender of the listing doesn't, or may not."""
    listed = set(split(message.ids))
    missing: list[bytes] = []
    for held in group.held.values():
        if held.received_at > now - settle_s:
            break
        if message.mask >> held.hashed % BUCKETS & 1 and held.id not in listed:
            missing.append(held.id)
    most = _MOST_MISSING if message.is_whole else IDS_PER_MESSAGE
    return missing if len(missing) <= most else group.members.random.sample(missing, most)
