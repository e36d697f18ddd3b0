"""The news that a node passes on with every packet it sends.

Invariant: there is at most one statement for each member, the newest; each goes out at most `limit` times, those that
went out the fewest times first. What is taken is taken off the same end that is filled: nothing is sorted.

Source: SWIM (Das, Gupta, Motivala 2002), section 4.1 (lambda x log n times each, fewest first), and the
``TransmitLimitedQueue`` of HashiCorp's memberlist.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

from .statements import Statement, encoded_bytes

__all__ = ["Dissemination", "retransmit_limit"]

_MOST_AT_ONCE: Final = 64


def retransmit_limit(mult: int, members: int) -> int:
    """Return how often each node passes a statement on, in a group of `members`; at least `mult`.

    Source: memberlist's ``retransmitLimit``.
    """
    return mult * max(1, math.ceil(math.log10(members + 1)))


class _Item(msgspec.Struct, eq=False):
    statement: Statement
    size: int
    transmits: int = 0
    is_stale: bool = False


class Dissemination:
    """The queue of one node.

    Attributes:
        mult: scales how often each statement goes out.
        items: what there is to say, by the member that it is about; false while there is no news.
    """

    __slots__ = ("_tiers", "items", "mult")

    def __init__(self, mult: int) -> None:
        self.mult: int = mult
        self.items: dict[str, _Item] = {}
        self._tiers: list[deque[_Item]] = [deque()]  # index: how often they went out

    def __len__(self) -> int:
        """Return about how many members there is news."""
        return len(self.items)

    def __contains__(self, name: str) -> bool:
        return name in self.items

    def put(self, statement: Statement, *, is_urgent: bool = False) -> None:
        """Pass `statement` on from now on, instead of what was said about the same member before."""
        self.drop(statement.name)
        item = self.items[statement.name] = _Item(statement, encoded_bytes(statement))
        if is_urgent:
            self._tiers[0].appendleft(item)
        else:
            self._tiers[0].append(item)

    def drop(self, name: str) -> None:
        """Say no more about a member."""
        item = self.items.pop(name, None)
        if item is not None:
            item.is_stale = True

    def take(self, room_bytes: int, members: int) -> list[Statement]:
        """Return what goes out in the next packet, of at most `room_bytes`, in a group of `members`."""
        limit = retransmit_limit(self.mult, members)
        taken: list[_Item] = []
        for tier in self._tiers:
            passed: list[_Item] = []
            while tier and len(taken) < _MOST_AT_ONCE:
                item = tier.popleft()
                if item.is_stale:
                    continue
                if item.size > room_bytes:
                    passed.append(item)
                    break
                taken.append(item)
                room_bytes -= item.size
            tier.extendleft(reversed(passed))
        for item in taken:
            self._sent(item, limit)
        return [item.statement for item in taken]

    def _sent(self, item: _Item, limit: int) -> None:
        item.transmits += 1
        if item.transmits >= limit:
            self.drop(item.statement.name)
            return
        while len(self._tiers) <= item.transmits:
            self._tiers.append(deque())
        self._tiers[item.transmits].append(item)
