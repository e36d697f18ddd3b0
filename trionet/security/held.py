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
        since: when the first one of the boot id was held that was not released since.
        until: when it is dropped.
    """

    counter: int
    plaintext: bytes
    since: float
    until: float


class HeldPackets:
    """The packets of one node that are held."""

    __slots__ = ("_by_boot_id",)

    def __init__(self) -> None:
        self._by_boot_id: dict[int, Held] = {}  # the earliest first

    def __len__(self) -> int:
        return len(self._by_boot_id)

    def hold(self, boot_id: int, counter: int, plaintext: bytes, now: float) -> None:
        """Hold a packet, in place of an earlier one of its boot id."""
        self._expire(now)
        former, since = self._by_boot_id.get(boot_id), now
        if former is not None:
            if former.counter >= counter:
                return
            since = former.since
            del self._by_boot_id[boot_id]
        elif len(self._by_boot_id) >= MOST_HELD:
            del self._by_boot_id[next(iter(self._by_boot_id))]
        self._by_boot_id[boot_id] = Held(counter, plaintext, since, now + HOLD_S)

    def release(self, boot_id: int, now: float) -> Held | None:
        """Return the packet that is held for `boot_id`, and hold it no longer; None if there is none."""
        self._expire(now)
        return self._by_boot_id.pop(boot_id, None)

    def _expire(self, now: float) -> None:
        while self._by_boot_id and next(iter(self._by_boot_id.values())).until <= now:
            del self._by_boot_id[next(iter(self._by_boot_id))]
