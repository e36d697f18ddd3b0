"""Datagrams that wait for the proof of their senders' lives.

Invariants: at most `MOST_HELD` are held, one for each boot id, each for `HOLD_S` at most. Of two from one boot id the
one with the greater counter is held: a replayed one can't displace a new one. Over the bound the oldest goes.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["HOLD_S", "MOST_HELD", "Held", "HeldPackets"]

MOST_HELD: Final = 256
HOLD_S: Final = 1.0


class Held(msgspec.Struct, frozen=True, gc=False):
    """A packet that is held.

    Attributes:
        counter: that of its datagram.
        plaintext: the packet.
        source: the address from which it came.
        since: when the first one of the boot id was held that was not released since.
        until: when it is dropped.
    """

    counter: int
    plaintext: bytes
    source: str
    since: float
    until: float


class HeldPackets:
    """The packets of one node that are held.

    Attributes:
        dropped: the number of packets that were held in vain.
    """

    __slots__ = ("_by_boot_id", "_dropped_from", "dropped")

    def __init__(self) -> None:
        self.dropped: int = 0
        self._by_boot_id: dict[int, Held] = {}  # the earliest first
        self._dropped_from: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._by_boot_id)

    def hold(self, boot_id: int, counter: int, plaintext: bytes, source: str, now: float) -> None:
        """Hold a packet, in place of an earlier one of its boot id."""
        self.expire(now)
        former, since = self._by_boot_id.get(boot_id), now
        if former is not None:
            if former.counter >= counter:
                return
            since = former.since
            del self._by_boot_id[boot_id]
        elif len(self._by_boot_id) >= MOST_HELD:
            self._drop_first()
        self._by_boot_id[boot_id] = Held(counter, plaintext, source, since, now + HOLD_S)

    def release(self, boot_id: int, now: float) -> Held | None:
        """Return the packet that is held for `boot_id`, and hold it no longer; None if there is none."""
        self.expire(now)
        return self._by_boot_id.pop(boot_id, None)

    def expire(self, now: float) -> None:
        """Drop the packets that were held for too long."""
        while self._by_boot_id and next(iter(self._by_boot_id.values())).until <= now:
            self._drop_first()

    def pop_sources(self) -> list[str]:
        """Return where the packets came from that were dropped since the last time."""
        sources = list(self._dropped_from)
        self._dropped_from.clear()
        return sources

    def _drop_first(self) -> None:
        held = self._by_boot_id.pop(next(iter(self._by_boot_id)))
        self.dropped += 1
        if len(self._dropped_from) < MOST_HELD:
            self._dropped_from[held.source] = None
