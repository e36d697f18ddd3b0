"""The queue of news that is piggybacked on packets.

Invariant: the queue holds at most one statement for each member, the newest. Each is sent `limit` times, the
least sent ones first; less often only when many members are new. There is a queue for each number of times, so nothing
is sorted.

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

_CROWD: Final = 64
"""If the news of more new members waits than this, each is sent less often in proportion, `mult` times at least. Some
nodes miss some of it then, and find that by comparing views. Else the news of a thousand joins would take minutes."""


def retransmit_limit(mult: int, members: int) -> int:
    """Return how often each node sends a statement, in a group of `members`; at least `mult`.

    Source: memberlist's ``retransmitLimit``.
    """
    return mult * max(1, math.ceil(math.log10(members + 1)))


class _Item(msgspec.Struct, eq=False):
    statement: Statement
    size: int
    is_new: bool
    transmits: int = 0
    is_stale: bool = False


class Dissemination:
    """The queue of one node.

    Attributes:
        mult: scales how often each statement is sent.
        items: the queued statements by member.
        new: the number of those that are the first about a new member.
    """

    __slots__ = ("_tiers", "items", "mult", "new")

    def __init__(self, mult: int) -> None:
        self.mult: int = mult
        self.items: dict[str, _Item] = {}
        self.new: int = 0
        self._tiers: list[deque[_Item]] = [deque()]  # by how often the items were sent

    def __contains__(self, name: str) -> bool:
        return name in self.items

    def put(self, statement: Statement, *, is_urgent: bool = False, is_new: bool = False) -> None:
        """Queue `statement`, in place of an earlier one about the same member; `is_new`: the first one about it."""
        self.drop(statement.name)
        item = self.items[statement.name] = _Item(statement, encoded_bytes(statement), is_new)
        self.new += is_new
        if is_urgent:
            self._tiers[0].appendleft(item)
        else:
            self._tiers[0].append(item)

    def hasten(self, name: str) -> None:
        """Send the statement about a member before all others, if there is one."""
        if name in self.items:
            self.put(self.items[name].statement, is_urgent=True)

    def drop(self, name: str) -> None:
        """Drop the statement about a member, if there is one."""
        item = self.items.pop(name, None)
        if item is not None:
            item.is_stale = True
            self.new -= item.is_new
            if not self.items:  # free the memory: news of many members comes once
                self.items.clear()
                self._tiers = [deque()]

    def next_statements(self, room_bytes: int, members: int) -> list[Statement]:
        """Return statements for the next packet, of at most `room_bytes` in all, in a group of `members`."""
        limit = retransmit_limit(self.mult, members)
        fewer = limit if self.new <= _CROWD else max(self.mult, limit * _CROWD // self.new)
        taken: list[_Item] = []
        for tier in self._tiers:
            while tier and len(taken) < _MOST_AT_ONCE:
                item = tier.popleft()
                if item.is_stale:
                    continue
                if item.size > room_bytes:
                    tier.appendleft(item)
                    break
                taken.append(item)
                room_bytes -= item.size
        for item in taken:
            self._sent(item, fewer if item.is_new else limit)
        return [item.statement for item in taken]

    def _sent(self, item: _Item, limit: int) -> None:
        item.transmits += 1
        if item.transmits >= limit:
            self.drop(item.statement.name)
            return
        while len(self._tiers) <= item.transmits:
            self._tiers.append(deque())
        self._tiers[item.transmits].append(item)
