"""The bodies of requests while they arrive: their memory is bounded for all connections of a node together.

Invariant: the bodies that are still arriving have at most `limit_bytes`. When they have more the largest one is given
up, and then the next largest: who holds most pays, and a short call goes through while others send long ones slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from trionet.errors import TemporarilyUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

__all__ = ["Bodies"]


class Bodies:
    """Reads the bodies of a node's requests.

    Args:
        largest_bytes: the largest body taken.
        limit_bytes: what all bodies that are arriving may have together.
        timeout_s: how long one may take to arrive.
    """

    def __init__(self, *, largest_bytes: int, limit_bytes: int, timeout_s: float) -> None:
        self._largest_bytes = largest_bytes
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._arriving: dict[_Arriving, None] = {}
        self.held_bytes: int = 0

    async def read(self, parts: AsyncIterable[bytes]) -> bytes:
        """Return the whole of a body, watching its size as it comes: Quart 0.23 looks at that only in the end.

        Raises:
            RequestEntityTooLarge: it is over the limit.
            RequestTimeout: it did not arrive in time.
            TemporarilyUnavailable: it was the largest one when all together were too large.
        """
        arriving = _Arriving(trio.current_time() + self._timeout_s)
        self._arriving[arriving] = None
        try:
            with arriving.scope:
                async for part in parts:
                    arriving.data += part
                    self.held_bytes += len(part)
                    if len(arriving.data) > self._largest_bytes:
                        raise RequestEntityTooLarge
                    self._give_up_largest()
                return bytes(arriving.data)
        finally:
            self._drop(arriving)
        if arriving.is_given_up:
            raise TemporarilyUnavailable("this node is receiving more than it can hold: try again")
        raise RequestTimeout

    def _give_up_largest(self) -> None:
        while self.held_bytes > self._limit_bytes:
            largest = max(self._arriving, key=lambda arriving: len(arriving.data))
            largest.is_given_up = True
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
        self.is_given_up = False
