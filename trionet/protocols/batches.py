"""Batches of rumors and entries, so that many go to one node in one packet.

Invariant: a batch is sent when its first rumor is due. The ages of its rumors are computed then, so waiting makes them
older.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from .gossip_messages import Ihave, chunks
from .rumors import Held, HeldEntry

if TYPE_CHECKING:
    from .effects import ProtocolMessage
    from .push import Step

__all__ = ["Batch", "Batches"]


class Batch(msgspec.Struct, eq=False):
    """The rumors that wait for one node.

    Attributes:
        due: when it is sent.
        held: rumors to send.
        announced: rumors of which only the ids are sent.
    """

    due: float
    held: list[Held | HeldEntry] = msgspec.field(default_factory=list)
    announced: list[Held | HeldEntry] = msgspec.field(default_factory=list)

    def messages(self, now: float) -> list[ProtocolMessage]:
        """Return its messages."""
        ids_of: dict[str, list[bytes]] = {}
        for held in self.announced:
            ids_of.setdefault(held.gid, []).append(held.id)
        found: list[ProtocolMessage] = [held.message(now) for held in self.held]
        return found + [Ihave(gid, ids) for gid, all_ids in ids_of.items() for ids in chunks(all_ids)]


class Batches:
    """The batches of one node.

    Attributes:
        next_due: when the next one is sent.
    """

    __slots__ = ("_waiting", "next_due")

    def __init__(self) -> None:
        self._waiting: dict[str, Batch] = {}
        self.next_due: float = math.inf

    def add(self, held: Held | HeldEntry, step: Step, now: float) -> None:
        """Add a rumor to the batches of its targets."""
        due = now + step.wait_s
        for names, is_id_only in ((step.targets, False), (step.announced_to, True)):
            for to in names:
                batch = self._waiting.get(to)
                if batch is None:
                    batch = self._waiting[to] = Batch(due)
                batch.due = min(batch.due, due)
                (batch.announced if is_id_only else batch.held).append(held)
                self.next_due = min(self.next_due, due)

    def pop_due(self, now: float) -> list[tuple[str, Batch]]:
        """Remove and return the batches that are due, by target."""
        names = [name for name, batch in self._waiting.items() if batch.due <= now]
        found = [(name, self._waiting.pop(name)) for name in names]
        self.next_due = min((batch.due for batch in self._waiting.values()), default=math.inf)
        return found
