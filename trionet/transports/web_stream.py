"""The stream of an HTTP connection whose first bytes have been read to detect the protocol."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .web_tls import SecuredStream

__all__ = ["PIECE_BYTES", "PushedBackStream"]

PIECE_BYTES: Final = 64 * 1024
"""The bytes written within one time limit."""


class PushedBackStream:
    """A socket stream with some bytes pushed back, and a time limit for writes."""

    def __init__(self, stream: trio.SocketStream | SecuredStream, first: bytes, write_timeout_s: float) -> None:
        self._first = first
        self._write_timeout_s = write_timeout_s
        self.socket: trio.socket.SocketType = stream.socket
        self.aclose: Callable[[], Awaitable[None]] = stream.aclose
        self._receive_more = stream.receive_some
        self._send_piece = stream.send_all

    async def send_all(self, data: bytes) -> None:
        """Send `data`; close the socket when the peer reads too slowly."""
        for start in range(0, len(data), PIECE_BYTES):
            with trio.move_on_after(self._write_timeout_s) as scope:
                await self._send_piece(memoryview(data)[start : start + PIECE_BYTES])
            if scope.cancelled_caught:
                self.socket.close()
                raise trio.BrokenResourceError("the peer does not read its response")

    async def send_eof(self) -> None:
        """Close the sending side."""
        # The stream's own would let a concurrent `send_all` raise BusyResourceError.
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError):
            self.socket.shutdown(trio.socket.SHUT_WR)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Receive bytes, the pushed back ones first."""
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first[:max_bytes], self._first[max_bytes:]
            return first
        return await self._receive_more(max_bytes)
