"""Rules: they drop, delay and copy messages.

A rule is a function of a message and of the random numbers of its link. Its verdict is `PASS`, which leaves the
decision to the next rule; a delay in seconds; or `DROP`. The first verdict that is not `PASS` wins; without one the
message is delivered at once. A rule that passes may add to `Message.delay_s` and to `Message.copies`.

Dropped messages of a connection are retransmitted, as by TCP: loss causes delay there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

import msgspec

from trionet.identity import NodeAddress

__all__ = ["DROP", "PASS", "Judge", "Message", "Rule", "Sender", "StreamMessage", "Verdict", "judge_by"]

Verdict = float | None
"""The verdict of a rule on a message: `PASS`, `DROP`, or its delay in seconds."""

PASS: Final = None
DROP: Final = math.inf


class Sender(Protocol):
    """The sending side of a connection."""

    def acknowledge(self, size: int) -> None:
        """Handle the receipt of `size` bytes."""
        ...


class Message(msgspec.Struct, eq=False, gc=False):
    """A message in flight between two nodes.

    Attributes:
        source, target: the nodes.
        kind: ``datagram``; of a connection ``connect``, ``accept``, ``refuse``, ``reset``, or that of the link's
            frame: ``hello``, ``call``, ``reply``, ``error``, ``cancel``, ``cancelled``, ``item``, ``end``, ``credit``,
            ``chunk``, ``abandon``, ``window``, ``ping``, ``pong``, ``bye``.
        data: its bytes; for a connection, the next bytes of its stream, perhaps a part of a frame.
        sent_at: the time of the first transmission, on the fabric's clock.
        number: its sequence number on the fabric.
        link: its connection; 0 for a datagram.
        delay_s: the delay that rules have added.
        copies: the number of duplicates that rules have added.
    """

    source: NodeAddress
    target: NodeAddress
    kind: str
    data: bytes
    sent_at: float
    number: int
    link: int = 0
    delay_s: float = 0.0
    copies: int = 0


class StreamMessage(Message, eq=False, gc=True, kw_only=True):
    """A message of a connection; it refers to its sender, which keeps it until it is sent: a reference cycle.

    Attributes:
        sender: the sending side of the connection; None for an answer of a host without a receiver.
    """

    sender: Sender | None


Rule = Callable[[Message, Random], Verdict]
"""Returns the verdict on a message."""

Judge = Callable[[Message, Random], float]
"""Returns the delay of a message in seconds, or `DROP`."""


def judge_by(rules: Sequence[Rule]) -> Judge:
    """Return a function that applies `rules`, one after the other."""
    if len(rules) == 1:  # the common case
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
