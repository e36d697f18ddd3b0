"""The network between nodes, services and clients: latency, loss and partitions.

Invariants: a receiver has at most one message in transit. When it arrives, the next is the queued message that is due
first. So a message without latency waits behind one in transit (head-of-line blocking, as in Maelstrom: one thread for
each receiver). Partitions apply when a message leaves the queue, not when it is sent. Messages to and from clients have
no latency, and are never cut off.

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
        self.is_busy = False  # a message is in transit, or in delivery
        self.is_gone = False


class Network:
    """Carries messages between members: nodes, clients and services.

    Args:
        latency_ms: returns the latency of the next message.
        random: decides which messages are lost.
        p_loss: the probability that a message is lost.
        journal: records all messages.

    Attributes:
        partitions: for each receiver, the senders from which it is cut off.
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
        """Add a member.

        Args:
            name: its name.
            deliver: called with each message that arrives.
        """
        self._receivers[name] = _Receiver(name, deliver)

    def remove(self, name: str) -> None:
        """Remove a member, with all messages to it."""
        receiver = self._receivers.pop(name, None)
        if receiver is not None:
            receiver.is_gone = True

    def send(self, src: str, dest: str, body: bytes | dict[str, Any]) -> None:
        """Send a message.

        Raises:
            BadMessage: the sender or the receiver is not on the network.
        """
        receiver = self._receivers.get(dest)
        if receiver is None:
            raise BadMessage(f"the message is for {dest!r}, which is not on the network")
        if src not in self._receivers:
            raise BadMessage(f"the message is from {src!r}, which is not on the network")
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
        receiver.is_busy = True  # its messages to itself wait for the end of this delivery
        receiver.deliver(message)
        receiver.is_busy = False
