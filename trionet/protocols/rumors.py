"""What a node knows of rumors: those that it holds, and the ids of all that it has seen.

Invariants:

- A rumor is taken once. Its id is in the record when it is taken, and stays there longer than the rumor lives.
- A rumor dies. Its age only grows, with every holder, and none takes it once it is over the time to live. Where the
  record had to forget ids early, because there were too many, rumors that are old enough to be among the forgotten are
  refused: the bound on the record can lose an old rumor, and cannot make one go round for ever.
- A group's digest is that of the rumors that it holds, at every moment.

The one hole: the time that a rumor spends in the network is not in its age, so that a copy which lies in a buffer for
longer than the record outlives the rumors would be taken twice.

Source: Demers et al. 1987, section 1.4 (rumor mongering) and 2 (on forgetting: death certificates and their age).
"""

from __future__ import annotations

import heapq
import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from .digest import Digest
from .gossip_messages import BUCKETS, TOTAL_BYTES, Rumor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from .push import Push

__all__ = ["Held", "Record", "RumorGroup", "hash_of", "may_be_forgotten"]

_MARGIN_S: Final = 1.0
_FRESH: Final = 3


def hash_of(rumor_id: bytes) -> int:
    """Return `TOTAL_BYTES` x 8 bits that depend on an id alone."""
    return int.from_bytes(blake2b(rumor_id, digest_size=TOTAL_BYTES).digest(), "big")


def may_be_forgotten(age_s: float, since_forgotten_s: float) -> bool:
    """Tell whether a rumor may be one that was seen and forgotten.

    A rumor was born no later than it was seen. One that is younger than the time that has passed since the last
    forgotten id was seen isn't among the forgotten.

    Args:
        age_s: of the rumor, as it says; what it spent in the network, which isn't counted, is made up for by a margin.
        since_forgotten_s: how long ago the last of those ids that have been forgotten was seen; infinite for none.
    """
    return age_s + _MARGIN_S >= since_forgotten_s


class Record:
    """The ids of the rumors that were seen, in the order in which they came.

    Attributes:
        seen: when each of them came.
        forgotten_at: when the last of those ids that are forgotten had been seen.
    """

    __slots__ = ("_keep_s", "_most", "forgotten_at", "seen")

    def __init__(self, keep_s: float, most: int) -> None:
        """Begin with nothing seen.

        Args:
            keep_s: how long an id is kept.
            most: how many are kept.
        """
        self.seen: dict[bytes, float] = {}
        self._keep_s = keep_s
        self._most = most
        self.forgotten_at: float = -math.inf

    def __contains__(self, rumor_id: bytes) -> bool:
        return rumor_id in self.seen

    def __len__(self) -> int:
        return len(self.seen)

    def add(self, rumor_id: bytes, now: float) -> None:
        """Put an id in."""
        self.seen[rumor_id] = now
        if len(self.seen) > self._most:
            self._forget()

    def forget_old(self, now: float) -> None:
        """Let go of what was kept long enough."""
        while self.seen and next(iter(self.seen.values())) <= now - self._keep_s:
            self._forget()

    def may_be_forgotten(self, age_s: float, now: float) -> bool:
        """Tell whether a rumor of this age, which isn't in the record, may have been in it."""
        return may_be_forgotten(age_s, now - self.forgotten_at)

    def _forget(self) -> None:
        oldest = next(iter(self.seen))
        self.forgotten_at = self.seen.pop(oldest)


class Held:
    """A rumor that a node holds.

    Attributes:
        gid, id, origin, payload: as in `Rumor`.
        hops: what a copy that goes out says.
        born_at: when it was sent first, by the clock of this node, or later.
        received_at: when it came.
        hashed: the hash of its id, for digests.
    """

    __slots__ = ("born_at", "gid", "hashed", "hops", "id", "origin", "payload", "received_at")

    def __init__(self, gid: str, rumor_id: bytes, origin: str, payload: bytes, born_at: float, now: float) -> None:
        self.gid: str = gid
        self.id: bytes = rumor_id
        self.origin: str = origin
        self.payload: bytes = payload
        self.born_at: float = born_at
        self.received_at: float = now
        self.hashed: int = hash_of(rumor_id)
        self.hops: int = 0

    def message(self, now: float) -> Rumor:
        """Return what is to be sent at this time."""
        # A millisecond more, so that even a chain of holders who pass it on in no time makes it older.
        age_ms = int((now - self.born_at) * 1000) + 1
        return Rumor(self.gid, self.id, self.origin, age_ms, self.hops, self.payload)


class RumorGroup:
    """One group: its members, and the rumors for it that this node holds.

    Attributes:
        gid: the group.
        me: this node's name.
        random: its random numbers.
        members: their names.
        is_member: whether this node is among them.
        push: where rumors go at once.
        held: by id, in the order in which they came.
        digest: of their ids.
        payload_bytes: the sum of their payloads.
        fresh: how many comparisons are to be made though nothing is held, because the group is new here.
    """

    __slots__ = (
        "_expiries",
        "_most_bytes",
        "_place_of",
        "_placed",
        "_retention_s",
        "digest",
        "fresh",
        "gid",
        "held",
        "is_member",
        "me",
        "members",
        "payload_bytes",
        "push",
        "random",
    )

    def __init__(self, gid: str, me: str, random: Random, *, retention_s: float, most_bytes: int) -> None:
        self.gid: str = gid
        self.me: str = me
        self.random: Random = random
        self.members: Sequence[str] = ()
        self.is_member: bool = False
        self.push: Push
        self.held: dict[bytes, Held] = {}
        self.digest: Digest = Digest(BUCKETS)
        self.payload_bytes: int = 0
        self.fresh: int = _FRESH
        self._place_of: dict[str, int] = {}
        self._placed: Sequence[str] = ()  # the members that `_place_of` is of
        self._retention_s = retention_s
        self._most_bytes = most_bytes
        self._expiries: list[tuple[float, bytes]] = []

    def others(self) -> int:
        """Return how many members there are but this node."""
        return len(self.members) - self.is_member

    def has(self, name: str) -> bool:
        """Tell whether a node is a member."""
        if self._placed is not self.members:  # made when it is asked for, for it isn't shared as the members are
            self._place()
        return name in self._place_of

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Take members in and out, at a cost that doesn't depend on how many there are; the order may change."""
        if self._placed is not self.members or not isinstance(self.members, list):
            self.members = list(self.members)  # it may have been shared
            self._place()
        members, place_of = self.members, self._place_of
        for name in removed:
            place = place_of.pop(name, None)
            if place is not None:
                last = members.pop()
                if last != name:
                    members[place] = last
                    place_of[last] = place
        for name in added:
            if name not in place_of:
                place_of[name] = len(members)
                members.append(name)
        self.is_member = self.me in place_of

    def _place(self) -> None:
        self._placed = self.members
        self._place_of = {name: place for place, name in enumerate(self.members)}

    def pick(self, count: int, *, without: str = "") -> list[str]:
        """Return `count` different members at random, this node and `without` left out; as many as there are.

        If nobody else is left, it is `without`.
        """
        if count <= 0:
            return []
        members, me, random = self.members, self.me, self.random.random
        size = len(members)
        if 2 * count + 2 >= size:
            found = [name for name in members if name not in (me, without)]
            self.random.shuffle(found)
            return found[:count] or [name for name in members if name == without != me]
        found = []
        while len(found) < count:
            name = members[int(random() * size)]
            if name != me and name != without and name not in found:  # noqa: PLR1714 - the fastest way, and it is hot
                found.append(name)
        return found

    def add(self, held: Held) -> None:
        """Hold a rumor. What is over the bound goes, the first that came first; its id stays in the record."""
        self.held[held.id] = held
        self.digest.toggle(held.hashed)
        heapq.heappush(self._expiries, (held.born_at + self._retention_s, held.id))
        self.payload_bytes += len(held.payload)
        while self.payload_bytes > self._most_bytes and len(self.held) > 1:
            self._remove(next(iter(self.held)))

    def next_expiry(self) -> float:
        """Return when the next rumor has outlived its time."""
        return self._expiries[0][0] if self._expiries else math.inf

    def expire(self, now: float) -> None:
        """Let go of the rumors whose time is over."""
        while self._expiries and self._expiries[0][0] <= now:
            self._remove(heapq.heappop(self._expiries)[1])

    def came_since(self, time: float) -> list[Held]:
        """Return what came after `time`, the last first."""
        found: list[Held] = []
        for held in reversed(self.held.values()):
            if held.received_at <= time:
                break
            found.append(held)
        return found

    def gone_before(self, time: float) -> list[Held]:
        """Return what will have outlived its time at `time`."""
        found: list[Held] = []
        pending = [0]
        while pending:  # down the heap, as far as it is early enough
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
