"""What may happen to a message on its way: rules, asked one after the other.

A rule is a function of a message and of the random numbers of its link, and its verdict one of three: `PASS`, to ask
the next rule; a number of seconds after which it is delivered; or `DROP`. The first verdict that is not `PASS` wins;
where there is none, the message is delivered at once. A rule that passes may add to `Message.delay_s` and to
`Message.copies`.

What is lost of a connection is sent again, as TCP does, so that there loss shows as time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

import msgspec

from trionet.identity import NodeAddress

__all__ = ["DROP", "PASS", "Judge", "Message", "Rule", "Sender", "Verdict", "judge_by"]

Verdict = float | None
"""What a rule says of a message: `PASS`, `DROP`, or the seconds after which it is delivered."""

PASS: Final = None
DROP: Final = math.inf


class Sender(Protocol):
    """The sending side of a connection."""

    def acknowledge(self, size: int) -> None:
        """Handle that `size` bytes have been received."""
        ...


class Message(msgspec.Struct, eq=False, gc=False):
    """Something on its way from one node to another.

    Attributes:
        source, target: the nodes.
        kind: ``datagram``; of a connection ``connect``, ``accept``, ``refuse``, ``reset``, or that of the link's
            frame: ``call``, ``reply``, ``error``, ``cancel``, ``cancelled``, ``item``, ``end``, ``credit``, ``chunk``,
            ``abandon``, ``window``, ``ping``, ``pong``, ``bye``.
        data: its bytes; of a connection, the next of its stream, of a long frame a part perhaps.
        sent_at: when it was sent first, on the fabric's clock.
        number: counts the messages of the fabric.
        link: the connection it belongs to; 0 for a datagram.
        sender: the side of that connection that it comes from.
        delay_s: what rules have added to its way.
        copies: how many more of it rules have made.
    """

    source: NodeAddress
    target: NodeAddress
    kind: str
    data: bytes
    sent_at: float
    number: int
    link: int = 0
    sender: Sender | None = None
    delay_s: float = 0.0
    copies: int = 0


Rule = Callable[[Message, Random], Verdict]
"""Judges messages."""

Judge = Callable[[Message, Random], float]
"""Says after how many seconds a message is delivered, or `DROP`."""


def judge_by(rules: Sequence[Rule]) -> Judge:
    """Return what asks `rules`, one after the other."""
    if len(rules) == 1:  # the way of most messages
        return _judge_by_one(rules[0])

    def judge(message: Message, random: Random) -> float:
        message.delay_s = 0.0
        for rule in rules:
            verdict = rule(message, random)
            if verdict is not None:
                return verdict + message.delay_s
        return message.delay_s

    return judge


def _judge_by_one(rule: Rule) -> Judge:
    def judge(message: Message, random: Random) -> float:
        message.delay_s = 0.0
        verdict = rule(message, random)
        return message.delay_s if verdict is None else verdict + message.delay_s

    return judge
