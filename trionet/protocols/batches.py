"""Rumors that wait for company, so that many go to one node in one packet.

Invariant: what waits for a node goes when the first of it is due, and with it all that waits for that node. Ages are
taken when it goes; waiting makes a rumor older.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from .gossip_messages import Ihave, chunks
from .rumors import Held

if TYPE_CHECKING:
    from .effects import ProtocolMessage
    from .push import Step

__all__ = ["Batch", "Batches"]


class Batch(msgspec.Struct, eq=False):
    """What waits to go to one node.

    Attributes:
        due: when it goes.
        held: what goes with its payload.
        told: what is only announced.
    """

    due: float
    held: list[Held] = msgspec.field(default_factory=list)
    announced: list[Held] = msgspec.field(default_factory=list)

    def all(self) -> list[Held]:
        """Return all rumors that it is about."""
        return [*self.held, *self.announced]

    def messages(self, now: float) -> list[ProtocolMessage]:
        """Return it as it goes."""
        told: dict[str, list[bytes]] = {}
        for held in self.announced:
            told.setdefault(held.gid, []).append(held.id)
        found: list[ProtocolMessage] = [held.message(now) for held in self.held]
        return found + [Ihave(gid, ids) for gid, all_ids in told.items() for ids in chunks(all_ids)]


class Batches:
    """What waits, by node.

    Attributes:
        next_due: when something is to go.
    """

    __slots__ = ("_waiting", "next_due")

    def __init__(self) -> None:
        self._waiting: dict[str, Batch] = {}
        self.next_due: float = math.inf

    def add(self, held: Held, step: Step, now: float) -> None:
        """Let a rumor wait for as long as its step says."""
        due = now + step.wait_s
        for names, is_id_only in ((step.targets, False), (step.announced_to, True)):
            for to in names:
                batch = self._waiting.get(to)
                if batch is None:
                    batch = self._waiting[to] = Batch(due)
                batch.due = min(batch.due, due)
                (batch.announced if is_id_only else batch.held).append(held)
                self.next_due = min(self.next_due, due)

    def take_due(self, now: float) -> list[tuple[str, Batch]]:
        """Return what goes now, and let it wait no longer."""
        names = [name for name, batch in self._waiting.items() if batch.due <= now]
        found = [(name, self._waiting.pop(name)) for name in names]
        self.next_due = min((batch.due for batch in self._waiting.values()), default=math.inf)
        return found
