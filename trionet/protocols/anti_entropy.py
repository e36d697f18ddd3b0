"""Comparing what two nodes hold: the part of gossip that is for certainty.

Invariants: two nodes that hold the same settled rumors find that out from one message of a few dozen bytes; two that
don't exchange the ids of the buckets that differ, and nothing else. A comparison changes nothing; it says what to pull.

Rumors that are on their way, and those that one node has let go of some moments before the other, make two sets
differ all the time while there is traffic. So the first message sums up the *settled* ones only, those that its sender
has held for a while and will hold for a while yet; and the receiver takes a difference as none that rumors of its own
which may not be settled can explain. Whether they can is linear algebra over GF(2): the difference is the exclusive
or of some of them exactly if it lies in their span. Another difference lies in the span of m of them with a chance of
2 ** (m - 96).

Source: Demers et al. 1987, section 1.3: checksums first, then recent updates, then contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .gossip_messages import BUCKETS, ID_BYTES, IDS_PER_MESSAGE, Buckets, Listing, Summary, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .rumors import Group

__all__ = ["answer_summary", "in_span", "is_explained", "listing", "missing_from", "packed", "summary", "unpacked"]

_MOST_UNSETTLED: Final = 64
_MOST_MISSING: Final = 16 * IDS_PER_MESSAGE
_ALL: Final = (1 << BUCKETS) - 1


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
    """Return bucket totals as they are in a message, trailing zeros left out."""
    joined = b"".join(total.to_bytes(ID_BYTES, "big") for total in totals)
    length = len(joined.rstrip(b"\0"))
    return joined[: -(-length // ID_BYTES) * ID_BYTES]


def unpacked(totals: bytes) -> list[int]:
    """Return bucket totals from a message."""
    return [int.from_bytes(one, "big") for one in split(totals)]


def summary(group: Group, settle_s: float, now: float) -> Summary:
    """Return the first message of a comparison."""
    total = group.digest.total
    for number in _unsettled(group, settle_s, now):
        total ^= number
    return Summary(group.gid, total.to_bytes(ID_BYTES, "big"))


def is_explained(difference: int, group: Group, settle_s: float, now: float) -> bool:
    """Tell whether a difference between another node's summary and this node's digest may be nothing.

    What the other one's sum leaves out, because it hasn't settled there, has come here at most twice as long ago, or
    ends at most twice as late.
    """
    if difference == 0:
        return True
    unsettled = _unsettled(group, 2 * settle_s, now)
    return len(unsettled) <= _MOST_UNSETTLED and in_span(difference, unsettled)


def _unsettled(group: Group, settle_s: float, now: float) -> list[int]:
    """Return the ids, as numbers, of what came within the time or ends within it."""
    came, going = group.came_since(now - settle_s), group.gone_before(now + settle_s)
    if not came and not going:
        return []
    return [int.from_bytes(rumor_id, "big") for rumor_id in {held.id: None for held in (*came, *going)}]


def answer_summary(group: Group, message: Summary, settle_s: float, now: float) -> Buckets | Listing | None:
    """Return what to answer the first message with: nothing, all ids where they are few, or the sums of the buckets."""
    difference = group.digest.total ^ int.from_bytes(message.total, "big")
    if is_explained(difference, group, settle_s, now):
        return None
    if len(group.held) <= IDS_PER_MESSAGE:
        return Listing(group.gid, _ALL, b"".join(group.held))
    return Buckets(group.gid, packed(group.digest.buckets))


def listing(group: Group, message: Buckets) -> Listing | None:
    """Return the ids of the buckets that differ, as many as a message holds."""
    differing = group.digest.differing(unpacked(message.totals))
    if not differing:
        return None
    group.random.shuffle(differing)
    mask, ids = 0, list[bytes]()
    for bucket in differing:
        more = _in_buckets(group, 1 << bucket)
        if mask and len(ids) + len(more) > IDS_PER_MESSAGE:
            break  # the next comparison gets to the rest
        mask |= 1 << bucket
        ids += more
    is_whole = len(ids) <= IDS_PER_MESSAGE
    return Listing(group.gid, mask, b"".join(ids if is_whole else group.random.sample(ids, IDS_PER_MESSAGE)), is_whole)


def missing_from(group: Group, message: Listing) -> list[bytes]:
    """Return the ids of what this node holds and the sender of the listing doesn't, or may not."""
    listed = set(split(message.ids))
    missing = [rumor_id for rumor_id in _in_buckets(group, message.mask) if rumor_id not in listed]
    most = _MOST_MISSING if message.is_whole else IDS_PER_MESSAGE
    return missing if len(missing) <= most else group.random.sample(missing, most)


def _in_buckets(group: Group, mask: int) -> list[bytes]:
    if mask == _ALL:
        return list(group.held)
    bucket_of = group.digest.bucket_of
    return [rumor_id for rumor_id in group.held if mask >> bucket_of(int.from_bytes(rumor_id, "big")) & 1]
