"""The members that one node knows.

Invariant: for each name the greatest statement that ever came, until it is forgotten; a member that is there (ALIVE or
SUSPECT) is in the ring `present` (all but oneself) and in the digest, one that is DEAD in the ring `dead`. The table is
bounded: a new member that has no room is refused, and of those gone the oldest is forgotten first.

Source: SWIM (Das, Gupta, Motivala 2002), section 4; that the dead are remembered, so that they may be tried again, is
from Serf (``reconnect_timeout``, 72 h there, too).
"""

from __future__ import annotations

import math
from bisect import insort
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Final

from .digest import Digest, hash_of_name
from .ring import Ring
from .statements import State, fingerprint
from .swim_events import MemberInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from .statements import Statement

__all__ = ["MemberRecord", "Members"]

_BUCKETS: Final = 64
"""So that the buckets of a digest fit a datagram, and a bucket of 10,000 members is a few kilobytes."""

_CIRCLE: Final = 1 << 64
_NEAR: Final = 32
"""How many of those that follow oneself on the circle are known, so that all need to be looked at only now and then."""


class MemberRecord:
    """What a node knows of a member.

    Attributes:
        statement: the greatest that came.
        since: when its state became what it is.
        circle: its place among all members on a circle of 64 bits, from its name.
        place: where in its ring it is.
    """

    __slots__ = ("circle", "name", "place", "since", "statement")

    def __init__(self, statement: Statement, now: float) -> None:
        self.name: str = statement.name
        self.statement: Statement = statement
        self.since: float = now
        self.circle: int = hash_of_name(statement.name)
        self.place: int = -1

    @property
    def is_present(self) -> bool:
        """Whether it is ALIVE or SUSPECT."""
        return self.statement.state <= State.SUSPECT

    def info(self) -> MemberInfo:
        """Return this as it is now."""
        said = self.statement
        return MemberInfo(said.name, said.incarnation, State(said.state), said.boot_id, said.tags, self.since)


class Members:
    """The table of one node.

    Attributes:
        present: the members that are there, without oneself.
        dead: those that have failed and are not forgotten.
        doubted: those that are known and not ALIVE, by name.
        digest: of those that are there, with oneself.
        next_on_circle: the member whose hash follows one's own; None while there is none.
        get: returns what is known of the member of a name, or None.
    """

    __slots__ = (
        "_by_name",
        "_gone_at",
        "_me",
        "_most_gone",
        "_most_present",
        "_my_place",
        "_near",
        "dead",
        "digest",
        "doubted",
        "get",
        "next_on_circle",
        "present",
    )

    def __init__(self, own: Statement, now: float, random: Random, most_present: int, most_gone: int) -> None:
        """Begin with oneself; at most so many members are present, and so many gone ones remembered."""
        self.present: Ring[MemberRecord] = Ring(random)
        self.dead: Ring[MemberRecord] = Ring(random)
        self.doubted: dict[str, MemberRecord] = {}
        self.digest: Digest = Digest(_BUCKETS)
        self.next_on_circle: MemberRecord | None = None
        self._near: list[MemberRecord] = []  # those that follow oneself on the circle, the nearest last
        self._most_present = most_present
        self._most_gone = most_gone
        self._me = own.name
        self._my_place = hash_of_name(own.name)
        self._by_name: dict[str, MemberRecord] = {own.name: MemberRecord(own, now)}
        self.get: Callable[[str], MemberRecord | None] = (
            self._by_name.get
        )  # the dict's own, for it is asked at each packet
        # When each went, by name, in order of time; of the failed and of those that left.
        self._gone_at: dict[int, dict[str, float]] = {State.DEAD: {}, State.LEFT: {}}
        self.digest.toggle(fingerprint(own))

    def __len__(self) -> int:
        """Return how many are there, oneself included."""
        return len(self.present) + 1

    def __iter__(self) -> Iterator[MemberRecord]:
        """Iterate over all that are known, in the order in which they became known."""
        return iter(self._by_name.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def put(self, statement: Statement, now: float) -> MemberRecord | None:
        """Let `statement` hold from now on, as the one before doesn't; return None if there is no room for it."""
        member = self._by_name.get(statement.name)
        if member is None:
            if statement.state <= State.SUSPECT and len(self) >= self._most_present:
                return None
            member = self._by_name[statement.name] = MemberRecord(statement, now)
            self._doubt(member)
            self._enter(member, now)
            return member
        before = member.statement
        if before.state != statement.state:
            member.since = now
        if before.state <= State.SUSPECT and statement.state <= State.SUSPECT:
            self.digest.toggle(fingerprint(before))
            self.digest.toggle(fingerprint(statement))
            member.statement = statement
            self._doubt(member)
        else:
            self._leave(member)
            member.statement = statement
            self._doubt(member)
            self._enter(member, now)
        return member

    def annotate(self, member: MemberRecord, statement: Statement) -> None:
        """Replace what is known of a member by the same with other suspected_by."""
        member.statement = statement

    def forget(self, name: str) -> None:
        """Forget a member that is gone."""
        member = self._by_name.pop(name)
        self.doubted.pop(name, None)
        self._leave(member)

    def next_forgotten(self, failed_s: float, left_s: float) -> float:
        """Return when the next one is to be forgotten, if they are remembered so long; ``math.inf`` for none."""
        return min((due for due, _ in self._first_gone(failed_s, left_s)), default=math.inf)

    def forget_next(self, failed_s: float, left_s: float) -> None:
        """Forget the next one."""
        self.forget(min(self._first_gone(failed_s, left_s))[1])

    def _first_gone(self, failed_s: float, left_s: float) -> list[tuple[float, str]]:
        waits = ((self._gone_at[State.DEAD], failed_s), (self._gone_at[State.LEFT], left_s))
        return [(at + wait, name) for gone, wait in waits for name, at in islice(gone.items(), 1)]

    def in_buckets(self, buckets: Iterable[int]) -> list[Statement]:
        """Return what is known of all members, present or gone, whose names belong to these buckets."""
        wanted = set(buckets)
        if not wanted:
            return []
        return [member.statement for member in self._by_name.values() if member.circle % _BUCKETS in wanted]

    def _doubt(self, member: MemberRecord) -> None:
        if member.statement.state != State.ALIVE:
            self.doubted[member.name] = member
        else:
            self.doubted.pop(member.name, None)

    def _enter(self, member: MemberRecord, now: float) -> None:
        state = member.statement.state
        if state <= State.SUSPECT:
            self.digest.toggle(fingerprint(member.statement))
            if member.name != self._me:
                self.present.add(member)
                self._approach(member)
            return
        if member.name == self._me:
            return
        if state == State.DEAD:
            self.dead.add(member)
        self._gone_at[state][member.name] = now
        if sum(map(len, self._gone_at.values())) > self._most_gone:
            self.forget_next(0.0, 0.0)

    def _leave(self, member: MemberRecord) -> None:
        state = member.statement.state
        if state <= State.SUSPECT:
            self.digest.toggle(fingerprint(member.statement))
            if member.name != self._me:
                self.present.remove(member)
                self._depart(member)
            return
        if member.name == self._me:
            return
        if state == State.DEAD:
            self.dead.remove(member)
        del self._gone_at[state][member.name]

    def _approach(self, member: MemberRecord) -> None:
        near = self._near
        if len(near) == len(self.present) - 1 or self._distance(member) < self._distance(near[0]):
            insort(near, member, key=lambda one: -self._distance(one))
            del near[: max(0, len(near) - _NEAR)]
            self.next_on_circle = near[-1]

    def _depart(self, member: MemberRecord) -> None:
        if member in self._near:
            self._near.remove(member)
            if not self._near:  # once for every so many that leave
                self._near = nsmallest(_NEAR, self.present, key=self._distance)[::-1]
            self.next_on_circle = self._near[-1] if self._near else None

    def _distance(self, member: MemberRecord) -> int:
        return (member.circle - self._my_place) % _CIRCLE
