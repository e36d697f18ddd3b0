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
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from .digest import BUCKETS, Digest, hash_of_name
from .member_record import MemberRecord
from .ring import Ring
from .statements import State, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from .packing import Packing
    from .statements import Statement
    from .swim_settings import SwimOptions

__all__ = ["Members"]

_CIRCLE: Final = 1 << 64
_NEAR: Final = 32
_LEAST_NEAR: Final = 16
"""How many successors on the circle are cached, so that a search of all members is rare, and how many at least."""

_LEAST_WATCHED: Final = 8
"""How many members after a row of suspects are watched at least. One of several that fail side by side is found only
when those before it are suspected; and each probe takes longer while relays, which have failed, too, send no nacks."""


class Members:
    """The table of one node.

    Attributes:
        present: the members that are ALIVE or SUSPECT, without this node.
        dead: the members that are DEAD and not forgotten.
        doubted: the members that are not ALIVE, by name.
        forgotten: the names of those forgotten, until they are taken out.
        digest: the digest of the present members, with this node.
        packing: follows the changes of the table, if there is one.
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
        "packing",
        "present",
    )

    def __init__(self, own: Statement, now: float, random: Random, options: SwimOptions) -> None:
        """Start with this node alone."""
        self.present: Ring[MemberRecord] = Ring(random)
        self.dead: Ring[MemberRecord] = Ring(random)
        self.doubted: dict[str, MemberRecord] = {}
        self.forgotten: list[str] = []
        self.digest: Digest = Digest(BUCKETS)
        self.packing: Packing | None = None
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
            if self.packing is not None:
                self.packing.add(member)
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
            self.restate(member, statement)
        if statement.state != State.ALIVE:
            self.doubted[member.name] = member
        else:
            self.doubted.pop(member.name, None)
        if not stays:
            self._enter(member, now)
        return member

    def restate(self, member: MemberRecord, statement: Statement) -> None:
        """Replace the statement about a member by one of the same state."""
        member.statement = statement
        if self.packing is not None:
            self.packing.change(member)

    def trusted_on_circle(self) -> MemberRecord | None:
        """Return the nearest successor on the circle that is not suspected; None without one nearby."""
        for member in reversed(self._near):
            if not member.statement.state:
                return member
        return None

    @property
    def has_suspects(self) -> bool:
        """Whether a member is suspected."""
        return len(self.doubted) > len(self._gone_at[State.DEAD]) + len(self._gone_at[State.LEFT])

    def suspected_near(self, count: int) -> Iterator[MemberRecord]:
        """Iterate over the suspected successors on the circle for which fewer than `count` before them are trusted."""
        trusted = 0
        for member in reversed(self._near):
            if member.statement.state:
                yield member
            else:
                trusted += 1
                if trusted == count:
                    return

    def after_suspected(self, member: MemberRecord) -> list[MemberRecord]:
        """Return whom to watch because of a suspect: the next successors that are trusted.

        After one suspect, which may be a mistake, that is one; after more in a row it is twice as many, at least
        `_LEAST_WATCHED`, but none beyond the successors that are cached, so that a node that is cut off suspects few at
        a time. It is none if a trusted one is before the suspect, because that one watches.
        """
        run = list(takewhile(lambda one: one.statement.state, reversed(self._near)))
        if member not in run:
            return []
        count = 1 if len(run) == 1 else max(_LEAST_WATCHED, 2 * len(run))
        return list(islice((one for one in reversed(self._near) if not one.statement.state), count))

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
        if self.packing is not None:
            self.packing.remove(member)
        self.forgotten.append(name)

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

    def _depart(self, member: MemberRecord) -> None:
        if member in self._near:
            self._near.remove(member)
            if len(self._near) < min(_LEAST_NEAR, len(self.present)):  # at most once per `_LEAST_NEAR` departures
                self._near = nsmallest(_NEAR, self.present, key=self._distance)[::-1]

    def _distance(self, member: MemberRecord) -> int:
        return (member.circle - self._my_place) % _CIRCLE
