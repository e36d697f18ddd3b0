"""The bodies of arriving requests, with one memory limit for all connections of a node.

Invariant: the arriving bodies have at most `limit_bytes` together. Beyond that the largest one is rejected, so that a
short call succeeds while others send long ones slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trionet.errors import TemporarilyUnavailable

from .web_errors import BodyTooLate, too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

__all__ = ["Bodies"]


class Bodies:
    """Reads the bodies of a node's requests.

    Args:
        largest_bytes: the limit of one body.
        limit_bytes: the limit of all arriving bodies together.
        timeout_s: the time limit of one body.
    """

    def __init__(self, *, largest_bytes: int, limit_bytes: int, timeout_s: float) -> None:
        self._largest_bytes = largest_bytes
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._arriving: dict[_Arriving, None] = {}
        self.held_bytes: int = 0

    async def read(self, parts: AsyncIterable[bytes]) -> bytes:
        """Return a whole body, whose size is checked as it arrives.

        Raises:
            MessageTooLarge: it is over the limit.
            BodyTooLate: it did not arrive in time.
            TemporarilyUnavailable: it was the largest one when all together were over their limit.
        """
        arriving = _Arriving(trio.current_time() + self._timeout_s)
        self._arriving[arriving] = None
        try:
            with arriving.scope:
                async for part in parts:
                    arriving.data += part
                    self.held_bytes += len(part)
                    if len(arriving.data) > self._largest_bytes:
                        raise too_large(self._largest_bytes)
                    self._reject_largest()
                return bytes(arriving.data)
        finally:
            self._drop(arriving)
        if arriving.is_rejected:
            raise TemporarilyUnavailable("this node is receiving more than it can hold: try again")
        raise BodyTooLate

    def _reject_largest(self) -> None:
        while self.held_bytes > self._limit_bytes:
            largest = max(self._arriving, key=lambda arriving: len(arriving.data))
            largest.is_rejected = True
            largest.scope.cancel()
            self._drop(largest)

    def _drop(self, arriving: _Arriving) -> None:
        if arriving in self._arriving:
            del self._arriving[arriving]
            self.held_bytes -= len(arriving.data)
            arriving.data = bytearray()


class _Arriving:
    def __init__(self, deadline: float) -> None:
        self.data = bytearray()
        self.scope = trio.CancelScope(deadline=deadline)
        self.is_rejected = False
