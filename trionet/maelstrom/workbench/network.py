"""The network between nodes, services and clients: latency, loss and partitions.

Invariants: a receiver has one message on the way to it at a time: the one that is due first among those that wait when
the one before has arrived. So a message that takes no time waits behind one that is on the way already (head-of-line
blocking, as Maelstrom has it: one thread for each receiver). Whether a partition stops a message is decided when it
sets out on that last stretch, not when it is sent. Messages to and from clients take no time, and are never cut off.

One heap has the next arrival of each receiver, and one task waits for the earliest. Source: Maelstrom,
``src/maelstrom/net.clj``.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from .errors import BadMessage
from .messages import NetworkMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from random import Random

    from .journal import Journal

__all__ = ["Network"]

_encode = msgspec.json.Encoder().encode


class _Receiver:
    __slots__ = ("deliver", "is_busy", "is_gone", "name", "queue")

    def __init__(self, name: str, deliver: Callable[[NetworkMessage], None]) -> None:
        self.name = name
        self.deliver = deliver
        self.queue: list[tuple[float, int, NetworkMessage]] = []
        self.is_busy = False  # a message is on the way to it, or being delivered
        self.is_gone = False


class Network:
    """Carries messages between those who have been added.

    Args:
        latency_ms: gives the latency of the next message.
        random: decides which messages are lost.
        p_loss: the probability that a message is.
        journal: told of all messages.

    Attributes:
        partitions: by receiver, whose messages it does not get.
    """

    def __init__(self, latency_ms: Callable[[], int], random: Random, p_loss: float, journal: Journal) -> None:
        self.partitions: Mapping[str, Collection[str]] = {}
        self.p_loss: float = p_loss
        self._latency_ms = latency_ms
        self._random = random
        self._journal = journal
        self._receivers: dict[str, _Receiver] = {}
        self._count = 0
        self._heap: list[tuple[float, int, _Receiver, NetworkMessage]] = []
        self._earlier = trio.lowlevel.ParkingLot()

    def __contains__(self, name: str) -> bool:
        return name in self._receivers

    def add(self, name: str, deliver: Callable[[NetworkMessage], None]) -> None:
        """Put somebody on the network.

        Args:
            name: under which messages reach them.
            deliver: is called with each message that arrives.
        """
        self._receivers[name] = _Receiver(name, deliver)

    def remove(self, name: str) -> None:
        """Take somebody off the network, with all that is on the way to them."""
        receiver = self._receivers.pop(name, None)
        if receiver is not None:
            receiver.is_gone = True

    def send(self, src: str, dest: str, body: bytes | dict[str, Any]) -> None:
        """Send a message.

        Raises:
            BadMessage: there is nobody of one of the names.
        """
        receiver = self._receivers.get(dest)
        if receiver is None:
            raise BadMessage(f"the message goes to {dest!r}, and there is nobody of that name on the network")
        if src not in self._receivers:
            raise BadMessage(f"the message comes from {src!r}, and there is nobody of that name on the network")
        number = self._count
        self._count += 1
        message = NetworkMessage(number, src, dest, body if isinstance(body, bytes) else _encode(body))
        now = trio.current_time()
        self._journal.sent(message, now)
        if self.p_loss and not message.is_clients and self._random.random() < self.p_loss:
            self._journal.lost += 1
            return
        due = now if message.is_clients else now + self._latency_ms() / 1000
        heapq.heappush(receiver.queue, (due, number, message))
        if not receiver.is_busy:
            self._next(receiver, now)

    async def run(self) -> None:
        """Carry messages until cancelled."""
        while True:
            if self._heap:
                with trio.move_on_at(self._heap[0][0]):
                    await self._earlier.park()
            else:
                await self._earlier.park()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, _, receiver, message = heapq.heappop(self._heap)
                receiver.is_busy = False
                self._arrive(receiver, message, now)
                self._next(receiver, now)

    def _next(self, receiver: _Receiver, now: float) -> None:
        queue = receiver.queue
        while queue and not receiver.is_busy and not receiver.is_gone:
            due, number, message = heapq.heappop(queue)
            if message.src in self.partitions.get(receiver.name, ()):
                self._journal.cut += 1
            elif due <= now:
                self._arrive(receiver, message, now)
            else:
                receiver.is_busy = True
                heapq.heappush(self._heap, (due, number, receiver, message))
                if self._heap[0][1] == number:
                    self._earlier.unpark()

    def _arrive(self, receiver: _Receiver, message: NetworkMessage, now: float) -> None:
        if receiver.is_gone:
            return
        self._journal.received(message, now)
        receiver.is_busy = True  # what it sends to itself meanwhile comes after this one
        receiver.deliver(message)
        receiver.is_busy = False
