"""Calls along a tree, in virtual time: the spread of one call, and of its answers, over very many members.

Only what travels is simulated: each member forwards the call to those that the library's own division of the members
gives it, and answers when all of its members have. All members share one list of names.
"""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING

import msgspec

from trionet.protocols.relaying import arity_of, runs_of
from trionet.simulation.latencies import exponential

if TYPE_CHECKING:
    from trionet.simulation.latencies import Latency

__all__ = ["TreeFigures", "tree_figures"]

_HANDLING_S = 0.000_05
"""The time that a member takes to send or to receive one message: measured, with both ends in one process."""


class TreeFigures(msgspec.Struct, frozen=True):
    """The figures of one call.

    Attributes:
        reached: the members that have run it.
        levels: the longest way down.
        reached_s: until the last has it, in virtual seconds.
        answered_s: until the caller has all answers.
        messages: that each member sends, on average.
        most_messages: that one member sends and receives.
    """

    reached: int
    levels: int
    reached_s: float
    answered_s: float
    messages: float
    most_messages: int


class _Call:
    """The call at one member.

    Attributes:
        above: the one that has sent it here.
        waiting: how many answers it waits for.
        level: how many have forwarded it.
        handled: how many messages it has sent and received.
        free_at: when it has handled them.
    """

    __slots__ = ("above", "free_at", "handled", "level", "waiting")

    def __init__(self, above: _Call | None, level: int) -> None:
        self.above = above
        self.waiting = 0
        self.level = level
        self.handled = 0
        self.free_at = 0.0

    def handle(self, now: float) -> float:
        """Send or receive one message; return when that is done."""
        self.handled += 1
        self.free_at = max(self.free_at, now) + _HANDLING_S
        return self.free_at


def tree_figures(seed: int, members: int, *, latency: Latency | None = None, is_flat: bool = False) -> TreeFigures:
    """Call `members` along a tree, or all directly if it `is_flat`; one-way latencies have a mean of 10 ms."""
    random, delay = Random(f"{seed} tree"), latency or exponential(0.01)
    arity = members if is_flat else arity_of(members)
    events: list[tuple[float, int, _Call, int, int, bool]] = []
    count = reached = levels = most = 0
    reached_s = 0.0
    caller = _Call(None, 0)

    def send(at: float, to: _Call, begin: int, end: int, *, is_answer: bool) -> None:
        nonlocal count
        count += 1
        heapq.heappush(events, (at + delay(random), count, to, begin, end, is_answer))

    def divide(call: _Call, begin: int, end: int, now: float) -> None:
        for first, last in runs_of(end - begin, arity):
            call.waiting += 1
            send(call.handle(now), _Call(call, call.level + 1), begin + first, begin + last, is_answer=False)

    divide(caller, 0, members, 0.0)
    answered_s = 0.0
    while events:
        now, _, call, begin, end, is_answer = heapq.heappop(events)
        now = call.handle(now)
        if is_answer:
            call.waiting -= 1
        else:
            reached, levels, reached_s = reached + 1, max(levels, call.level), max(reached_s, now)
            divide(call, begin + 1, end, now)
        if not call.waiting:
            most = max(most, call.handled + 1)
            if call.above is None:
                answered_s = now
            else:
                send(call.handle(now), call.above, 0, 0, is_answer=True)
    return TreeFigures(reached, levels, reached_s, answered_s, count / max(1, members), most)
