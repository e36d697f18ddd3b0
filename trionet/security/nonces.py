"""The nonces that a receiver has seen, so that no request is accepted twice.

A nonce has 24 bytes: the time of its request in microseconds since 1970, big-endian, and 16 random bytes. So a time is
exact, where that of a signature (``created``) is in whole seconds.

Invariants: no nonce is accepted twice, in any life of the receiver: each accepted one is either remembered, or not
later than the horizon, and those are refused. The horizon begins at the receiver's start, and passes a nonce only when
that is forgotten: because it is older than the window, or because the store is full. So a flood makes the window
shorter, and never lets a replay pass; and a clock that was wrong for a while does no lasting harm.

Source: RFC 9421, section 7.2.2 (replay); the horizon is that of RFC 6479.
"""

from __future__ import annotations

import heapq
from typing import Final

from trionet.errors import MalformedRequest

__all__ = ["CLOCKS_DIFFER_US", "NONCE_RANDOM_BYTES", "WINDOW_US", "NonceStore", "nonce_of", "time_of"]

NONCE_RANDOM_BYTES: Final = 16
WINDOW_US: Final = 60 * 1_000_000
"""How old a request may be."""
CLOCKS_DIFFER_US: Final = 30 * 1_000_000
"""How far in the future the time of a request may be: clocks of machines differ."""

_TIME_BYTES: Final = 8
_MAX_NONCES: Final = 65_536


def nonce_of(time_us: int, random: bytes) -> bytes:
    """Return the nonce of a request.

    Args:
        time_us: its time, in microseconds since 1970.
        random: 16 random bytes.

    Raises:
        MalformedRequest: these are not 16 bytes, or the time is out of range.
    """
    if len(random) != NONCE_RANDOM_BYTES or not 0 <= time_us < 1 << 8 * _TIME_BYTES:
        raise MalformedRequest(f"a nonce is made of a time and {NONCE_RANDOM_BYTES} random bytes")
    return time_us.to_bytes(_TIME_BYTES, "big") + random


def time_of(nonce: bytes) -> int | None:
    """Return the time of a nonce, in microseconds; None if it is no nonce."""
    return int.from_bytes(nonce[:_TIME_BYTES], "big") if len(nonce) == _TIME_BYTES + NONCE_RANDOM_BYTES else None


class NonceStore:
    """Remembers the nonces of authentic requests.

    Args:
        started_us: the time of the receiver's start, in microseconds since 1970.
        most: how many nonces are remembered. Each takes some 200 bytes.
    """

    def __init__(self, started_us: int, most: int = _MAX_NONCES) -> None:
        self._horizon_us = started_us
        self._most = most
        self._known = set[bytes]()
        self._by_time: list[bytes] = []  # a heap: the first bytes of a nonce are its time

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def refusal(self, nonce: bytes, now_us: int) -> str | None:
        """Remember the nonce of an authentic request; return why the request is refused instead, or None.

        Args:
            nonce: the nonce.
            now_us: the time, in microseconds since 1970.
        """
        time_us = time_of(nonce)
        if time_us is None:
            return "the nonce has no time"
        if time_us > now_us + CLOCKS_DIFFER_US:
            return f"the request is {(time_us - now_us) / 1e6:.1f} s in the future: do the clocks differ?"
        if time_us < now_us - WINDOW_US:
            return f"the request is {(now_us - time_us) / 1e6:.1f} s old: do the clocks differ?"
        if time_us <= self._horizon_us:
            return "the request is from before this node's start, or older than the nonces that it remembers"
        if nonce in self._known:
            return "the request was replayed"
        self._known.add(nonce)
        heapq.heappush(self._by_time, nonce)
        self._forget(now_us - WINDOW_US)
        return None

    def _forget(self, oldest_us: int) -> None:
        while self._by_time:
            time_us = int.from_bytes(self._by_time[0][:_TIME_BYTES], "big")
            if len(self._by_time) <= self._most and time_us >= oldest_us:
                return
            self._known.discard(heapq.heappop(self._by_time))
            self._horizon_us = max(self._horizon_us, time_us)
