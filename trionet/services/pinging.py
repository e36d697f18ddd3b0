"""Pings that a person asks for: round trips by datagram, and which of the two directions loses datagrams.

A ping by datagram says by which way it is answered, so that each direction is tested alone: one goes by datagram and is
answered over a connection; the other goes over a connection and is answered by datagram. These are the pings of
membership, with numbers of their own; every node answers them.

Invariant: at most `_MOST_OPEN` pings wait for an answer; a lost one is forgotten with its caller.
"""

from __future__ import annotations

import enum
import itertools
from typing import TYPE_CHECKING, Final

import trio

from trionet.errors import TemporarilyUnavailable
from trionet.protocols.effects import Send
from trionet.protocols.swim_events import PingAnswered
from trionet.protocols.swim_messages import ASKED_SEQ, Ping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from trionet.identity import NodeAddress

    from .cluster_agent import ClusterAgent

__all__ = ["Pinging", "Way"]

_MOST_OPEN: Final = 4096
_SEQ_BITS: Final = 60


class Way(enum.Enum):
    """How a ping goes, and how it is answered."""

    BOTH = "both"  # by datagram
    OUT = "out"  # by datagram, and answered over a connection
    BACK = "back"  # over a connection, and answered by datagram


class Pinging:
    """The pings of one node."""

    def __init__(self, agent: ClusterAgent, random: Random) -> None:
        self._agent = agent
        self._random = random
        self._numbers: Iterator[int] | None = None  # drawn on use, so that a simulation without pings stays as it was
        self._open: dict[
            int, trio.Event
        ] = {}  # by number alone: a node may advertise another address than the dialed one
        agent.on(PingAnswered, self._handle_answer)

    @property
    def has_datagrams(self) -> bool:
        """Whether this node sends datagrams."""
        return self._agent.has_datagrams

    @property
    def open_count(self) -> int:
        """The number of pings that wait for an answer."""
        return len(self._open)

    async def ping(self, node: NodeAddress, within_s: float, way: Way = Way.BOTH) -> float | None:
        """Ping a node once; return the seconds until its answer, or None if none came in time.

        Raises:
            TemporarilyUnavailable: too many pings are open.
        """
        if len(self._open) >= _MOST_OPEN:
            raise TemporarilyUnavailable(f"{_MOST_OPEN} pings are waiting for answers")
        if self._numbers is None:
            self._numbers = itertools.count(ASKED_SEQ + self._random.getrandbits(_SEQ_BITS))
        seq = next(self._numbers)
        answered = self._open[seq] = trio.Event()
        try:
            driver = self._agent.driver
            begun_at = trio.current_time()
            driver.act([Send(str(node), Ping(seq, way is Way.OUT), way is Way.BACK)])
            with trio.move_on_after(within_s):
                await answered.wait()
            return trio.current_time() - begun_at if answered.is_set() else None
        finally:
            del self._open[seq]

    async def arrives(self, node: NodeAddress, way: Way, tries: int, within_s: float) -> bool:
        """Return whether one of several pings is answered."""
        for _ in range(tries):
            if await self.ping(node, within_s, way) is not None:
                return True
        return False

    def _handle_answer(self, event: PingAnswered) -> None:
        if (answered := self._open.get(event.seq)) is not None:
            answered.set()
