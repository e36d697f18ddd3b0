"""What a partition does to hosts of one network that ask for each other's addresses, as a rule for simulations.

A host forgets the address of one that it does not hear, and asks for it again when it has a packet for it: three times,
once per second. So after a partition nothing is sent to a host until the next question, of either of the two; then come
the packets, too, that have waited for it.

Sources: arp(7), and neigh_timer_handler in Linux's net/core/neighbour.c: by default an address holds for 15 to 45 s,
then for 5 s without and for 3 s with questions; RFC 826, a question tells the address of who asks, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from tests.hosts.watched import clock
from trionet.transports.memory.rules import DROP, PASS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from random import Random

    from trionet.transports.memory.rules import Message, Verdict

__all__ = ["Parted"]

_ASK_S: Final = 1.0
_QUESTIONS: Final = 3
_HOLDS_S: Final = (15.0, 45.0)
_DOUBTED_S: Final = 8.0
_SIGN_OF_LIFE_S: Final = 10.0
"""The interval in which hosts with links hear each other by TCP, which confirms an address."""

Way = tuple[str, str]
"""From a host to another one, by their IP addresses."""


class Parted:
    """A rule: hosts are cut off from all others, until `heal`.

    Args:
        hosts: their IP addresses.
        random: decides how long a host holds the address of another one.
        deliver: delivers a message at a time.
    """

    def __init__(self, hosts: Collection[str], random: Random, deliver: Callable[[float, Message], None]) -> None:
        self._hosts = frozenset(hosts)
        self._random = random
        self._deliver = deliver
        self._begun = clock()
        self._healed = math.inf
        self._longest_s: dict[str, float] = {}
        self._forgotten: dict[Way, float] = {}
        self._asked: dict[Way, float] = {}
        self._waiting: dict[Way, list[Message]] = {}
        self._found: dict[Way, float] = {}

    def heal(self) -> None:
        """End the partition."""
        self._healed = clock()
        for way, messages in self._waiting.items():
            found = self._find(way)
            if self._healed < self._asked[way] + _QUESTIONS * _ASK_S and found < math.inf:
                for message in messages:
                    self._deliver(found, message)
        self._waiting.clear()

    def __call__(self, message: Message, _: Random) -> Verdict:
        way = message.source.ip, message.target.ip
        if (way[0] in self._hosts) == (way[1] in self._hosts):
            return PASS
        now = clock()
        if self._holds(way, now):
            return DROP if now < self._healed else PASS
        if now >= self._asked.get(way, -math.inf) + _QUESTIONS * _ASK_S:
            self._asked[way] = now
            self._waiting[way] = []
        if now < self._healed:
            if not message.link:  # those of a connection are sent again anyway
                self._waiting[way].append(message)
            return DROP
        if (found := self._find(way)) == math.inf:
            return DROP
        message.delay_s += max(0.0, found - now)
        return PASS

    def _find(self, way: Way) -> float:
        """Return when one of the two hosts asks, so that each knows the other; infinity if none does."""
        back = way[1], way[0]
        found = min(self._answered(way), self._answered(back))
        if found < math.inf:
            self._found[way] = self._found[back] = found
        return found

    def _holds(self, way: Way, now: float) -> bool:
        """Whether the first host has the address of the other one."""
        if now >= self._found.get(way, math.inf):
            return True
        if way not in self._forgotten:
            longest_s = self._longest_s.setdefault(way[0], self._random.uniform(*_HOLDS_S))
            heard = self._begun - self._random.random() * _SIGN_OF_LIFE_S
            self._forgotten[way] = heard + longest_s + _DOUBTED_S
        return now < self._forgotten[way]

    def _answered(self, way: Way) -> float:
        """Return when the first question of the first host comes that is answered; infinity if it asks no more."""
        asked = self._asked.get(way, math.inf)
        number = max(0, math.ceil((self._healed - asked) / _ASK_S)) if asked < math.inf else _QUESTIONS
        return asked + number * _ASK_S if number < _QUESTIONS else math.inf
