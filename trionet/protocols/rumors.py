"""The rumors and entries that a node holds, and the ids of those that it has seen.

Invariants:

- A rumor is accepted once. Its id is recorded at that moment, and outlasts the rumor.
- A rumor dies. Its age only grows, with every holder, and no node accepts it past its time to live. Where ids were
  forgotten early, because there were too many, a rumor old enough to be among them is refused: the bound on the ids can
  lose an old rumor, but cannot keep one in circulation.
- A group's digest is always the digest of the rumors and entries that it holds.
- An entry doesn't expire, except for a tombstone. The id of an entry counts as seen while the entry is held, and for
  some time after it was superseded or dropped, so that no stale holder makes this node pull it again and again.

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
from .entries import Entry, EntryMap, supersedes
from .gossip_messages import BUCKETS, TOTAL_BYTES, Rumor

if TYPE_CHECKING:
    from .entries import Merged
    from .group_members import GroupMembers
    from .push import Push

__all__ = ["Held", "HeldEntry", "RumorGroup", "SeenIds", "hash_of", "may_be_forgotten"]

_MARGIN_S: Final = 1.0
_ROUNDING_S: Final = 1e-6
_FIRST_COMPARISONS: Final = 3
_MOST_PAST: Final = 8192
_MOST_STALE: Final = 64
"""The most expiries of rumors that aren't held any more, besides as many as are."""


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
        source: the node that sent the first copy; empty for one that was started here.
        is_pulled: whether this node had requested that copy.
        copies: how many copies have come, the first one included; 0 as long as it only was started here.
        is_shared: whether this node has forwarded it to its share.
        hashed: the hash of its id, for digests.
    """

    gid: str
    id: bytes
    origin: str
    payload: bytes
    born_at: float
    received_at: float
    hops: int = 0
    source: str = ""
    is_pulled: bool = False
    copies: int = 0
    is_shared: bool = False
    hashed: int = 0

    def __post_init__(self) -> None:
        self.hashed = hash_of(self.id)

    def message(self, now: float, share: str = "") -> Rumor:
        """Return the message that carries it, with the receiver's share."""
        # One millisecond more, so that even a chain of holders that forward at once makes it older.
        # The microsecond makes up for rounding: 1 ms after a birth at now - 0.001 are 1 ms, not 0.99999.
        age_ms = int((now - self.born_at + _ROUNDING_S) * 1000) + 1
        return Rumor(self.gid, self.id, self.origin, age_ms, self.hops, self.payload, share)

    def size_bytes(self) -> int:
        """Return the length of its payload."""
        return len(self.payload)


class HeldEntry(msgspec.Struct, eq=False):
    """An entry that a node holds.

    Attributes:
        gid, id: as in `entry`.
        entry: the entry.
        received_at: when it came.
        hashed: the hash of its id, for digests.
    """

    gid: str
    id: bytes
    entry: Entry
    received_at: float
    hashed: int = 0

    def __post_init__(self) -> None:
        self.hashed = hash_of(self.id)

    def message(self, now: float, share: str = "") -> Entry:
        """Return the message that carries it, which is the same at any time, and without a share."""
        del now, share
        return self.entry

    def size_bytes(self) -> int:
        """Return the length of its key and value."""
        return self.entry.size_bytes()


class RumorGroup:
    """One group at one node: its members, and its rumors and entries that this node holds.

    Attributes:
        gid: the group.
        members: its members.
        push: chooses the targets of its rumors.
        held: its rumors and entries by id, in the order in which they came.
        entries: its entries by key.
        past: the ids of entries that were superseded, dropped or refused.
        digest: the digest of the ids that it holds.
        payload_bytes: the sum of the rumors' payloads.
        first_comparisons: how many comparisons are made even with nothing held, because the group is new here.
    """

    __slots__ = (
        "_expiries",
        "_most_bytes",
        "_retention_s",
        "digest",
        "entries",
        "first_comparisons",
        "gid",
        "held",
        "members",
        "past",
        "payload_bytes",
        "push",
    )

    def __init__(self, gid: str, members: GroupMembers, push: Push, *, retention_s: float, most_bytes: int) -> None:
        self.gid: str = gid
        self.members: GroupMembers = members
        self.push: Push = push
        self.held: dict[bytes, Held | HeldEntry] = {}
        self.entries: EntryMap = EntryMap()
        self.past: SeenIds = SeenIds(2 * retention_s, _MOST_PAST)
        self.digest: Digest = Digest(BUCKETS)
        self.payload_bytes: int = 0
        self.first_comparisons: int = _FIRST_COMPARISONS
        self._retention_s = retention_s
        self._most_bytes = most_bytes
        self._expiries: list[tuple[float, bytes]] = []

    def add(self, held: Held) -> None:
        """Hold a rumor. Over the bound the oldest ones are dropped; their ids stay recorded."""
        self._hold(held, held.born_at + self._retention_s)
        self.payload_bytes += len(held.payload)
        while self.payload_bytes > self._most_bytes and (oldest := self._oldest_rumor()) is not held:
            self._remove(oldest.id)

    def merge(self, entry: Entry, now: float, expires_at: float) -> Merged:
        """Hold a valid entry, unless a greater one holds; and drop those that it supersedes.

        Args:
            entry: an entry that this node doesn't hold.
            now: the time.
            expires_at: when it is forgotten; infinite for all but tombstones. If that is over, it only supersedes.
        """
        merged = self.entries.merge(entry)
        if merged.holds and expires_at > now:
            self._hold(HeldEntry(self.gid, entry.id, entry, now), expires_at)
        else:
            self.entries.discard(entry)
            self.past.add(entry.id, now)
        replaced = () if merged.before is None or not supersedes(entry, merged.before) else (merged.before,)
        for one in (*replaced, *merged.dropped):
            if one is not entry:
                self._remove(one.id)
                self.past.add(one.id, now)
        return merged

    def knows(self, entry_id: bytes) -> bool:
        """Return whether this node holds an entry, or has held or refused it lately."""
        return entry_id in self.held or entry_id in self.past

    def expire(self, now: float) -> None:
        """Drop the expired rumors and tombstones, and forget old ids of entries."""
        while self._expiries and self._expiries[0][0] <= now:
            self._remove(heapq.heappop(self._expiries)[1])
        self.past.forget_old(now)

    def forget_entries(self) -> None:
        """Drop all entries, and their ids, so that each can come again; compare as a new group does."""
        for entry in list(self.entries.by_key.values()):
            self._remove(entry.id)
        self.past = SeenIds(2 * self._retention_s, _MOST_PAST)
        self.first_comparisons = _FIRST_COMPARISONS

    def received_since(self, time: float) -> list[Held | HeldEntry]:
        """Return the rumors and entries that came after `time`, the latest first."""
        found: list[Held | HeldEntry] = []
        for held in reversed(self.held.values()):
            if held.received_at <= time:
                break
            found.append(held)
        return found

    def expiring_before(self, time: float) -> list[Held | HeldEntry]:
        """Return the rumors and tombstones that will have expired at `time`."""
        found: list[Held | HeldEntry] = []
        pending = [0]
        while pending:  # down the heap, up to entries that expire later
            index = pending.pop()
            if index < len(self._expiries) and self._expiries[index][0] <= time:
                held = self.held.get(self._expiries[index][1])
                if held is not None:
                    found.append(held)
                pending += (2 * index + 1, 2 * index + 2)
        return found

    def _hold(self, held: Held | HeldEntry, expires_at: float) -> None:
        self.held[held.id] = held
        self.digest.toggle(held.hashed)
        if expires_at < math.inf:
            heapq.heappush(self._expiries, (expires_at, held.id))

    def _oldest_rumor(self) -> Held:
        return next(held for held in self.held.values() if isinstance(held, Held))

    def _remove(self, held_id: bytes) -> None:
        held = self.held.pop(held_id, None)
        if held is None:
            return
        self.digest.toggle(held.hashed)
        if isinstance(held, Held):
            self.payload_bytes -= len(held.payload)
        else:
            self.entries.discard(held.entry)
        if len(self._expiries) > 2 * len(self.held) + _MOST_STALE:  # of tombstones that were superseded, mostly
            self._expiries = [one for one in self._expiries if one[1] in self.held]
            heapq.heapify(self._expiries)
