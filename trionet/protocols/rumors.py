"""The rumors that a node holds, and the ids of those that it has seen.

Invariants:

- A rumor is accepted once. Its id is recorded at that moment, and outlasts the rumor.
- A rumor dies. Its age only grows, with every holder, and no node accepts it past its time to live. Where ids were
  forgotten early, because there were too many, a rumor old enough to be among them is refused: the bound on the ids can
  lose an old rumor, but cannot keep one in circulation.
- A group's digest is always the digest of the rumors that it holds.

One gap remains: the age leaves out the time in the network, so a copy that was buffered for longer than the ids outlive
the rumors would be accepted twice.

Source: Demers et al. 1987, section 1.4 (rumor mongering) and 2 (on forgetting: death certificates and their age).
"""

from __future__ import annotations

import heapq
import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from .digest import Digest
from .gossip_messages import BUCKETS, TOTAL_BYTES, Rumor

if TYPE_CHECKING:
    from .group_members import GroupMembers
    from .push import Push

__all__ = ["Held", "RumorGroup", "SeenIds", "hash_of", "may_be_forgotten"]

_MARGIN_S: Final = 1.0
_FIRST_COMPARISONS: Final = 3


def hash_of(rumor_id: bytes) -> int:
    """Return a hash of an id, of `TOTAL_BYTES` x 8 bits."""
    return int.from_bytes(blake2b(rumor_id, digest_size=TOTAL_BYTES).digest(), "big")


def may_be_forgotten(age_s: float, since_forgotten_s: float) -> bool:
    """Return whether a rumor with an unknown id may have been seen and forgotten.

    A rumor is at least as old as its first sight. So one that is younger than the time since the last forgotten id was
    seen is not among the forgotten.

    Args:
        age_s: the rumor's age; a margin of one second makes up for its time in the network, which the age leaves out.
        since_forgotten_s: the time since the last of the forgotten ids was seen; infinite for none.
    """
    return age_s + _MARGIN_S >= since_forgotten_s


class SeenIds:
    """The ids of the rumors that were seen, oldest first.

    Attributes:
        seen_at: the time at which each id was seen.
        forgotten_at: the time at which the last of the forgotten ids was seen.
    """

    __slots__ = ("_keep_s", "_most", "forgotten_at", "seen_at")

    def __init__(self, keep_s: float, most: int) -> None:
        """Keep at most `most` ids, each for `keep_s`."""
        self.seen_at: dict[bytes, float] = {}
        self._keep_s = keep_s
        self._most = most
        self.forgotten_at: float = -math.inf

    def __contains__(self, rumor_id: bytes) -> bool:
        return rumor_id in self.seen_at

    def add(self, rumor_id: bytes, now: float) -> None:
        """Record an id."""
        self.seen_at[rumor_id] = now
        if len(self.seen_at) > self._most:
            self._forget()

    def forget_old(self, now: float) -> None:
        """Forget the ids whose time is over."""
        while self.seen_at and next(iter(self.seen_at.values())) <= now - self._keep_s:
            self._forget()

    def _forget(self) -> None:
        oldest = next(iter(self.seen_at))
        self.forgotten_at = self.seen_at.pop(oldest)


class Held(msgspec.Struct, eq=False):
    """A rumor that a node holds.

    Attributes:
        gid, id, origin, payload: as in `Rumor`.
        born_at: when it was first sent, by this node's clock, or later.
        received_at: when it came.
        hops: the hop count of outgoing copies.
        hashed: the hash of its id, for digests.
    """

    gid: str
    id: bytes
    origin: str
    payload: bytes
    born_at: float
    received_at: float
    hops: int = 0
    hashed: int = 0

    def __post_init__(self) -> None:
        self.hashed = hash_of(self.id)

    def message(self, now: float) -> Rumor:
        """Return the message that carries it."""
        # One millisecond more, so that even a chain of holders that forward at once makes it older.
        age_ms = int((now - self.born_at) * 1000) + 1
        return Rumor(self.gid, self.id, self.origin, age_ms, self.hops, self.payload)


class RumorGroup:
    """One group at one node: its members, and its rumors that this node holds.

    Attributes:
        gid: the group.
        members: its members.
        push: chooses the targets of its rumors.
        held: its rumors by id, in the order in which they came.
        digest: the digest of their ids.
        payload_bytes: the sum of their payloads.
        first_comparisons: how many comparisons are made even with nothing held, because the group is new here.
    """

    __slots__ = (
        "_expiries",
        "_most_bytes",
        "_retention_s",
        "digest",
        "first_comparisons",
        "gid",
        "held",
        "members",
        "payload_bytes",
        "push",
    )

    def __init__(self, gid: str, members: GroupMembers, push: Push, *, retention_s: float, most_bytes: int) -> None:
        self.gid: str = gid
        self.members: GroupMembers = members
        self.push: Push = push
        self.held: dict[bytes, Held] = {}
        self.digest: Digest = Digest(BUCKETS)
        self.payload_bytes: int = 0
        self.first_comparisons: int = _FIRST_COMPARISONS
        self._retention_s = retention_s
        self._most_bytes = most_bytes
        self._expiries: list[tuple[float, bytes]] = []

    def add(self, held: Held) -> None:
        """Hold a rumor. Over the bound the oldest ones are dropped; their ids stay recorded."""
        self.held[held.id] = held
        self.digest.toggle(held.hashed)
        heapq.heappush(self._expiries, (held.born_at + self._retention_s, held.id))
        self.payload_bytes += len(held.payload)
        while self.payload_bytes > self._most_bytes and len(self.held) > 1:
            self._remove(next(iter(self.held)))

    def expire(self, now: float) -> None:
        """Drop the expired rumors."""
        while self._expiries and self._expiries[0][0] <= now:
            self._remove(heapq.heappop(self._expiries)[1])

    def received_since(self, time: float) -> list[Held]:
        """Return the rumors that came after `time`, the latest first."""
        found: list[Held] = []
        for held in reversed(self.held.values()):
            if held.received_at <= time:
                break
            found.append(held)
        return found

    def expiring_before(self, time: float) -> list[Held]:
        """Return the rumors that will have expired at `time`."""
        found: list[Held] = []
        pending = [0]
        while pending:  # down the heap, up to entries that expire later
            index = pending.pop()
            if index < len(self._expiries) and self._expiries[index][0] <= time:
                held = self.held.get(self._expiries[index][1])
                if held is not None:
                    found.append(held)
                pending += (2 * index + 1, 2 * index + 2)
        return found

    def _remove(self, rumor_id: bytes) -> None:
        held = self.held.pop(rumor_id, None)
        if held is not None:
            self.digest.toggle(held.hashed)
            self.payload_bytes -= len(held.payload)
