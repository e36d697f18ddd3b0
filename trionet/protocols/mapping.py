"""Mapping: the items of an iterable are shared out to the members of a group, one call each, by who is free.

Invariants: each item that is taken comes out once, as a `Done`. An item runs at most once, unless its method is
idempotent: only calls that did not run are repeated, or those of an idempotent method. It is sent at most
``1 + retries`` times. An item that may have run at any attempt never comes out with an error that says it did not. At
each member at most `per_member` items are in flight; and an item is taken only while those taken and not yet read are
fewer than `per_member` times the members, and when a member is free for it. In order, the results are those of the
items in their order, so that a slow item stalls the others at that bound.

An item that failed goes to a member where it has not failed yet, while the group has such a member. A member that
refuses calls, or whose connection breaks, fails fast, and seems the freest of all: so it rests, for a pause that
doubles with each failure in a row, and then gets one item at a time until it has answered one (the half-open state of a
circuit breaker: Nygard, "Release It!", 2007, section 5.2).
"""

from __future__ import annotations

import enum
import heapq
from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.identity import SID
from trionet.replies import Done

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.errors import TrionetError

__all__ = [
    "FIRST_REST_S",
    "LONGEST_REST_S",
    "Abandon",
    "Assign",
    "Failure",
    "ItemMap",
    "MapEffect",
    "Rest",
    "Take",
]

FIRST_REST_S: Final = 0.05
LONGEST_REST_S: Final = 1.0
_MOST_STALE: Final = 64


class Failure(enum.Enum):
    """The kind of a call's error."""

    REFUSED = "it did not run, because of the member"
    NOT_RUN = "it did not run"
    FAILED = "it ran and failed, or may have run"
    LOST = "it may have run, and the connection to the member is lost"
    FINAL = "it did not run, and can't run at any member"


class Take(msgspec.Struct, frozen=True):
    """Takes the next item of the iterable: the answer is `ItemMap.put` or `ItemMap.end`."""


class Assign(msgspec.Struct, frozen=True, gc=False):
    """Sends an item to a member: the answer is `ItemMap.succeed` or `ItemMap.fail`, unless it is abandoned.

    Attributes:
        attempt: the number of this sending, unique.
        sid: the member.
        item: the item.
    """

    attempt: int
    sid: SID
    item: Any


class Abandon(msgspec.Struct, frozen=True, gc=False):
    """Cancels the call of an attempt, whose outcome doesn't count any more."""

    attempt: int


class Rest(msgspec.Struct, frozen=True, gc=False):
    """Waits `pause_s` seconds, and then calls `ItemMap.rested` with `number`."""

    number: int
    pause_s: float


MapEffect = Take | Assign | Abandon | Rest


class _Member:
    """A member of the group, or a former one with items in flight."""

    __slots__ = ("failures", "in_flight", "is_resting", "sid", "turn")

    def __init__(self, sid: SID) -> None:
        self.sid = sid
        self.in_flight = 0
        self.failures = 0  # in a row
        self.is_resting = False
        self.turn = 0  # of its last change: of two that are equally free, the one that waits longer is first


class _Work:
    """An item that has been taken and has not come out."""

    __slots__ = ("attempts", "avoided", "index", "item", "may_have_run", "member")

    def __init__(self, index: int, item: Any) -> None:
        self.index = index
        self.item = item
        self.attempts = 0
        self.avoided: set[SID] = set()
        self.may_have_run: TrionetError | None = None  # the last error after which it may have run
        self.member: _Member | None = None

    def __lt__(self, other: _Work) -> bool:
        return self.index < other.index


class ItemMap:
    """One mapping; each input returns the effects to perform, in their order.

    Attributes:
        taken: the number of items taken.
        read: the number of results read.
        has_ended: whether no more items are taken.
    """

    def __init__(self, *, per_member: int, retries: int, is_ordered: bool, is_idempotent: bool) -> None:
        """Begin without members.

        Args:
            per_member: the items in flight at a member, >= 1.
            retries: the further attempts of an item, >= 0.
            is_ordered: whether the results are in the order of the items.
            is_idempotent: whether an item that may have run may run again.
        """
        self.taken: int = 0
        self.read: int = 0
        self.has_ended: bool = False
        self._per_member = per_member
        self._most_attempts = 1 + retries
        self._is_ordered = is_ordered
        self._is_idempotent = is_idempotent
        self._members: dict[SID, _Member] = {}
        self._former: dict[SID, _Member] = {}
        self._free: list[tuple[int, int, SID, _Member]] = []  # a heap; entries of other turns are stale
        self._turns = 0
        self._attempts = 0
        self._in_flight: dict[int, _Work] = {}
        self._pending: list[_Work] = []  # by index
        self._resting: dict[int, _Member] = {}
        self._rests = 0
        self._is_taking = False
        self._ready: deque[Done[Any, Any]] = deque()
        self._early: dict[int, Done[Any, Any]] = {}
        self._next_index = 0

    # ---- the reader

    @property
    def readable(self) -> int:
        """The number of results that can be read now."""
        return len(self._ready)

    @property
    def is_finished(self) -> bool:
        """Whether all results have been read, and there will be no more."""
        return self.has_ended and self.read == self.taken

    @property
    def in_flight(self) -> int:
        """The number of items in flight."""
        return len(self._in_flight)

    @property
    def is_stranded(self) -> bool:
        """Whether there may be items to run, and no member to run them."""
        return not self._members and bool(self._pending or not self.has_ended)

    def pop(self) -> tuple[Done[Any, Any], list[MapEffect]]:
        """Take the next result, which makes room for another item."""
        done = self._ready.popleft()
        self.read += 1
        return done, self._settle()

    # ---- the iterable

    def put(self, item: Any) -> list[MapEffect]:
        """Handle the item that `Take` has asked for."""
        assert self._is_taking, "no item was asked for"
        self._is_taking = False
        self._pending.append(_Work(self.taken, item))  # the largest index
        self.taken += 1
        return self._settle()

    def end(self) -> list[MapEffect]:
        """Handle the end of the iterable."""
        self.has_ended, self._is_taking = True, False
        return []

    def stop(self, error: TrionetError) -> list[MapEffect]:
        """Handle the end of the group: nothing more is sent; items that wait, and did not run, come out as `error`."""
        self.has_ended, self._is_taking = True, False
        self._members.clear()
        self._most_attempts = 0
        pending, self._pending = self._pending, []
        for work in pending:
            self._finish(work, work.may_have_run or error, is_error=True)
        return []

    # ---- the group

    def add_member(self, sid: SID) -> list[MapEffect]:
        """Handle a new member."""
        assert sid not in self._members
        member = self._former.pop(sid, None) or _Member(sid)
        self._members[sid] = member
        self._offer(member)
        return self._settle()

    def remove_member(self, sid: SID) -> list[MapEffect]:
        """Handle the removal of a member that goes on running: its items in flight come out as they end."""
        member = self._members.pop(sid)
        if member.in_flight:
            self._former[sid] = member
        return self._settle()

    def fail_member(self, sid: SID, error: Callable[[], TrionetError]) -> list[MapEffect]:
        """Handle the death of a member, or of a former one: its items in flight are abandoned, each with an error."""
        member = self._members.pop(sid, None) or self._former.pop(sid, None)
        if member is None:
            return []
        lost = [attempt for attempt, work in self._in_flight.items() if work.member is member]
        for attempt in lost:
            self._conclude(self._in_flight.pop(attempt), Failure.LOST, error())
        return [*map(Abandon, lost), *self._settle()]

    def rested(self, number: int) -> list[MapEffect]:
        """Handle the end of a rest."""
        member = self._resting.pop(number)
        member.is_resting = False
        self._offer(member)
        return self._settle()

    # ---- the calls

    def succeed(self, attempt: int, value: Any) -> list[MapEffect]:
        """Handle the value of a call."""
        work = self._in_flight.pop(attempt, None)
        if work is None:
            return []
        self._release(work, is_well=True)
        self._finish(work, value)
        return self._settle()

    def fail(self, attempt: int, failure: Failure, error: TrionetError) -> list[MapEffect]:
        """Handle the error of a call."""
        work = self._in_flight.pop(attempt, None)
        if work is None:
            return []
        is_members = failure in (Failure.REFUSED, Failure.LOST)
        rest = self._rest(work.member) if is_members else []
        self._release(work, is_well=failure is Failure.FAILED)
        if failure is Failure.FINAL:
            work.attempts -= 1
        self._conclude(work, failure, error)
        return rest + self._settle()

    # ---- inside

    def _conclude(self, work: _Work, failure: Failure, error: TrionetError) -> None:
        """Have a failed item wait for another attempt, or come out."""
        if failure in (Failure.FAILED, Failure.LOST):
            work.may_have_run = error
        is_repeatable = self._is_idempotent or failure in (Failure.REFUSED, Failure.NOT_RUN)
        if is_repeatable and failure is not Failure.FINAL and work.attempts < self._most_attempts:
            assert work.member is not None
            work.avoided.add(work.member.sid)
            insort(self._pending, work)
        else:
            self._finish(work, work.may_have_run or error, is_error=True)

    def _finish(self, work: _Work, outcome: Any, *, is_error: bool = False) -> None:
        sid = work.member.sid if work.member is not None and work.attempts else None
        done = Done(work.item, work.index, sid, work.attempts, outcome, is_error)
        if not self._is_ordered:
            self._ready.append(done)
            return
        self._early[work.index] = done
        while (early := self._early.pop(self._next_index, None)) is not None:
            self._ready.append(early)
            self._next_index += 1

    def _release(self, work: _Work, *, is_well: bool) -> None:
        """Free an item's place at its member."""
        member = work.member
        assert member is not None
        member.in_flight -= 1
        if is_well:
            member.failures = 0
        if not member.in_flight and self._former.get(member.sid) is member:
            del self._former[member.sid]
        self._offer(member)

    def _rest(self, member: _Member | None) -> list[MapEffect]:
        if member is None or member.is_resting or self._members.get(member.sid) is not member:
            return []
        pause_s = min(FIRST_REST_S * 2**member.failures, LONGEST_REST_S)
        member.failures = min(member.failures + 1, 16)
        member.is_resting = True
        self._rests += 1
        self._resting[self._rests] = member
        return [Rest(self._rests, pause_s)]

    def _is_free(self, member: _Member) -> bool:
        if member.is_resting or self._members.get(member.sid) is not member:
            return False
        return member.in_flight < (1 if member.failures else self._per_member)

    def _offer(self, member: _Member) -> None:
        """Put a member that is free into its place among them."""
        self._turns += 1
        member.turn = self._turns
        if self._is_free(member):
            if len(self._free) > _MOST_STALE + 2 * len(self._members):  # stale ones below the top are not popped
                self._free = [entry for entry in self._free if entry[1] == entry[3].turn]
                heapq.heapify(self._free)
            heapq.heappush(self._free, (member.in_flight, member.turn, member.sid, member))

    def _freest(self) -> _Member | None:
        free = self._free
        while free:
            _, turn, _, member = free[0]
            if turn == member.turn and self._is_free(member):
                return member
            heapq.heappop(free)
        return None

    def _settle(self) -> list[MapEffect]:
        """Send what can be sent, and take another item if there is room for it."""
        effects: list[MapEffect] = []
        if self._pending:
            self._send_pending(effects)
        if not self._is_taking and not self.has_ended and self._has_room() and self._freest() is not None:
            self._is_taking = True
            effects.append(Take())
        return effects

    def _has_room(self) -> bool:
        return self.taken - self.read < self._per_member * len(self._members)

    def _send_pending(self, effects: list[MapEffect]) -> None:
        still: list[_Work] = []
        for place, work in enumerate(self._pending):
            if self._freest() is None:
                still += self._pending[place:]
                break
            member = self._member_for(work)
            if member is None:
                still.append(work)
            else:
                effects.append(self._assigned(work, member))
        self._pending = still

    def _member_for(self, work: _Work) -> _Member | None:
        """Return the freest member where `work` has not failed, while there are such members."""
        avoided = work.avoided
        if not avoided or sum(sid in self._members for sid in avoided) == len(self._members):
            return self._freest()
        others = [each for each in self._members.values() if each.sid not in avoided and self._is_free(each)]
        return min(others, key=lambda each: (each.in_flight, each.turn), default=None)

    def _assigned(self, work: _Work, member: _Member) -> Assign:
        self._attempts += 1
        work.attempts += 1
        work.member = member
        if member.sid in work.avoided:  # it has failed at all
            work.avoided.clear()
        member.in_flight += 1
        self._in_flight[self._attempts] = work
        self._offer(member)
        return Assign(self._attempts, member.sid, work.item)
