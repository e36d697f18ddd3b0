"""What may happen to a message on its way: rules, asked one after the other.

A rule is a function of a message and of the random numbers of its link, and its verdict one of three: `PASS`, to ask
the next rule; a number of seconds after which it is delivered; or `DROP`. The first verdict that is not `PASS` wins;
where there is none, the message is delivered at once. A rule that passes may add to `Message.delay_s` and to
`Message.copies`.

What is lost of a connection is sent again, as TCP does, so that there loss shows as time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["DROP", "PASS", "Message", "Rule", "Verdict"]

Verdict = float | None
"""What a rule says of a message: `PASS`, `DROP`, or the seconds after which it is delivered."""

PASS: Final = None
DROP: Final = math.inf


class Message:
    """Something on its way from one node to another.

    Attributes:
        source, target: the nodes.
        kind: ``datagram``; of a connection ``connect``, ``accept``, ``refuse``, ``reset``, or the link's frame:
            ``call``, ``reply``, ``error``, ``cancel``, ``cancelled``, ``item``, ``end``, ``credit``, ``ping``,
            ``pong``, ``bye``.
        data: its bytes.
        sent_at: when it was sent first, on the fabric's clock.
        number: counts the messages of the fabric.
        link: the connection it belongs to; 0 for a datagram.
        delay_s: what rules have added to its way.
        copies: how many more of it rules have made.
    """

    __slots__ = ("copies", "data", "delay_s", "kind", "link", "number", "sent_at", "source", "target")

    def __init__(
        self, source: NodeAddress, target: NodeAddress, kind: str, data: bytes, sent_at: float, number: int, link: int
    ) -> None:
        self.source: NodeAddress = source
        self.target: NodeAddress = target
        self.kind: str = kind
        self.data: bytes = data
        self.sent_at: float = sent_at
        self.number: int = number
        self.link: int = link
        self.delay_s: float = 0.0
        self.copies: int = 0


Rule = Callable[[Message, Random], Verdict]
"""Judges messages."""
