"""The members that one node knows.

Invariant: for each name the table holds the greatest statement received, until it is forgotten. A present member (ALIVE
or SUSPECT) is in the digest and, except for this node, in the ring `present`; a DEAD one is in the ring `dead`. The
table is bounded: a new member without room is refused, and of those gone the oldest is forgotten first. A node that
can't be a member is refused, too.

Source: SWIM (Das, Gupta, Motivala 2002), section 4. Serf remembers the dead, too, to contact them again
(``reconnect_timeout``, also 72 h).
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
    from .swim_settings import SwimOptions

__all__ = ["MemberRecord", "Members"]

_BUCKETS: Final = 64
"""A digest of this size fits a datagram, and a bucket of 10,000 members has a few kilobytes."""

_CIRCLE: Final = 1 << 64
_NEAR: Final = 32
"""How many successors on the circle are cached, so that a search of all members is rare."""


class MemberRecord:
    """A member at one node.

    Attributes:
        name: its name.
        statement: the greatest statement received.
        since: when its state last changed.
        circle: its position on a circle of 64 bits, a hash of its name.
        place: its position in its ring.
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
        """Return its present state."""
        held = self.statement
        state, by = State(held.state), held.suspected_by
        return MemberInfo(held.name, held.incarnation, state, held.boot_id, held.tags, self.since, by)


class Members:
    """The table of one node.

    Attributes:
        present: the members that are ALIVE or SUSPECT, without this node.
        dead: the members that are DEAD and not forgotten.
        doubted: the members that are not ALIVE, by name.
        forgotten: the names of those forgotten, until they are taken out.
        digest: the digest of the present members, with this node.
        next_on_circle: the successor of this node on the circle; None while it is alone.
        get: returns the member of a name, or None.
    """

    __slots__ = (
        "_by_name",
        "_gone_at",
        "_me",
        "_my_place",
        "_near",
        "_options",
        "dead",
        "digest",
        "doubted",
        "forgotten",
        "get",
        "next_on_circle",
        "present",
    )

    def __init__(self, own: Statement, now: float, random: Random, options: SwimOptions) -> None:
        """Start with this node alone."""
        self.present: Ring[MemberRecord] = Ring(random)
        self.dead: Ring[MemberRecord] = Ring(random)
        self.doubted: dict[str, MemberRecord] = {}
        self.forgotten: list[str] = []
        self.digest: Digest = Digest(_BUCKETS)
        self.next_on_circle: MemberRecord | None = None
        self._near: list[MemberRecord] = []  # the successors on the circle, the nearest last
        self._options = options
        self._me = own.name
        self._my_place = hash_of_name(own.name)
        self._by_name: dict[str, MemberRecord] = {own.name: MemberRecord(own, now)}
        # The dict's own method, because each packet calls it.
        self.get: Callable[[str], MemberRecord | None] = self._by_name.get
        # When each one failed or left, by name, in order of time.
        self._gone_at: dict[int, dict[str, float]] = {State.DEAD: {}, State.LEFT: {}}
        self.digest.toggle(fingerprint(own))

    def __len__(self) -> int:
        """Return the number of present members, this node included."""
        return len(self.present) + 1

    def __iter__(self) -> Iterator[MemberRecord]:
        """Iterate over all known members, in the order of their first statement."""
        return iter(self._by_name.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def put(self, statement: Statement, now: float) -> MemberRecord | None:
        """Replace the statement about a member; return the member, or None if it is refused."""
        member = self._by_name.get(statement.name)
        if member is None:
            is_full = statement.state <= State.SUSPECT and len(self) >= self._options.members
            if is_full or self._options.is_barred(statement.name):
                return None
            member = self._by_name[statement.name] = MemberRecord(statement, now)
            stays = False
        else:
            if member.statement.state != statement.state:
                member.since = now
            stays = member.is_present and statement.state <= State.SUSPECT
            if stays:
                self.digest.toggle(fingerprint(member.statement))
                self.digest.toggle(fingerprint(statement))
            else:
                self._leave(member)
            member.statement = statement
        if statement.state != State.ALIVE:
            self.doubted[member.name] = member
        else:
            self.doubted.pop(member.name, None)
        if not stays:
            self._enter(member, now)
        return member

    def next_forgotten(self) -> float:
        """Return when the next one that is gone is to be forgotten; ``math.inf`` for none."""
        options = self._options
        first = self._first_gone(options.forget_failed_s, options.forget_left_s)
        return min((due for due, _ in first), default=math.inf)

    def forget_until(self, now: float) -> None:
        """Forget those whose time is over."""
        options = self._options
        while self.next_forgotten() <= now:
            self._forget(min(self._first_gone(options.forget_failed_s, options.forget_left_s))[1])

    def forget(self, name: str) -> None:
        """Forget a member that is gone, if it is known."""
        member = self._by_name.get(name)
        if member is not None and not member.is_present:
            self._forget(name)

    def _first_gone(self, failed_s: float, left_s: float) -> list[tuple[float, str]]:
        waits = ((self._gone_at[State.DEAD], failed_s), (self._gone_at[State.LEFT], left_s))
        return [(at + wait, name) for gone, wait in waits for name, at in islice(gone.items(), 1)]

    def _forget(self, name: str) -> None:
        member = self._by_name.pop(name)
        self.doubted.pop(name, None)
        self._leave(member)
        self.forgotten.append(name)

    def in_buckets(self, buckets: Iterable[int]) -> list[Statement]:
        """Return the statements about all members, present or gone, in these buckets."""
        wanted = set(buckets)
        if not wanted:
            return []
        return [member.statement for member in self._by_name.values() if member.circle % _BUCKETS in wanted]

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
        if sum(map(len, self._gone_at.values())) > self._options.gone:
            self._forget(min(self._first_gone(0.0, 0.0))[1])

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
            if not self._near:  # at most once per `_NEAR` departures
                self._near = nsmallest(_NEAR, self.present, key=self._distance)[::-1]
            self.next_on_circle = self._near[-1] if self._near else None

    def _distance(self, member: MemberRecord) -> int:
        return (member.circle - self._my_place) % _CIRCLE
