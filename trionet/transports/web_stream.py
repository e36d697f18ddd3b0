"""The stream of an HTTP connection whose first bytes have been read to detect the protocol.

Invariants: a write is shielded from cancellation; a peer that does not read 64 KiB of it in time loses the connection.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

import trio

from .readiness import wait_readable, wait_writable

if TYPE_CHECKING:
    from .web_tls import SecuredStream

__all__ = ["PIECE_BYTES", "PlainStream", "TLSStream"]

PIECE_BYTES: Final = 64 * 1024
"""The bytes written within one time limit."""

_SLOW: Final = "the peer does not read its response"


class PlainStream:
    """A non-blocking socket of the standard library: Trio's sockets have a checkpoint in each operation.

    Attributes:
        socket: the socket.
    """

    def __init__(self, sock: socket.socket, first: bytes, write_timeout_s: float) -> None:
        """Use a socket from which `first` has been read."""
        self.socket: socket.socket = sock
        self._first = first
        self._write_timeout_s = write_timeout_s

    async def send_all(self, data: bytes) -> None:
        """Send `data`, without a checkpoint if the kernel takes it at once.

        Raises:
            trio.BrokenResourceError: the connection broke, or the peer reads too slowly.
        """
        sent = self._send_some(data)
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        for start in range(0, len(rest), PIECE_BYTES):
            piece = rest[start : start + PIECE_BYTES]
            with trio.CancelScope(deadline=trio.current_time() + self._write_timeout_s, shield=True) as scope:
                while piece:
                    await wait_writable(self.socket)
                    piece = piece[self._send_some(piece) :]
            if scope.cancelled_caught:
                self.abort()
                raise trio.BrokenResourceError(_SLOW)

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise trio.BrokenResourceError(str(exc)) from exc

    async def send_eof(self) -> None:
        """Close the sending side."""
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError):  # the peer has gone
            self.socket.shutdown(socket.SHUT_WR)

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive bytes, the pushed back ones first; nothing at the end.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side has closed it.
        """
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first[:max_bytes], self._first[max_bytes:]
            return first
        while True:
            await wait_readable(self.socket)
            try:
                return self.socket.recv(max_bytes)
            except BlockingIOError:
                pass  # a spurious wake-up
            except OSError as exc:
                raise trio.BrokenResourceError(str(exc)) from exc

    async def aclose(self) -> None:
        """Close the socket."""
        self.abort()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Close the socket at once, which ends all waits for it."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()


class TLSStream:
    """A stream within TLS.

    Attributes:
        socket: that of the connection.
    """

    def __init__(self, stream: SecuredStream, first: bytes, write_timeout_s: float) -> None:
        """Use `stream`, from which `first` has been read."""
        self.socket: trio.socket.SocketType = stream.socket
        self._stream = stream
        self._first = first
        self._write_timeout_s = write_timeout_s

    async def send_all(self, data: bytes) -> None:
        """Send `data`; see `PlainStream.send_all`."""
        for start in range(0, len(data), PIECE_BYTES):
            with trio.CancelScope(deadline=trio.current_time() + self._write_timeout_s, shield=True) as scope:
                await self._stream.send_all(memoryview(data)[start : start + PIECE_BYTES])
            if scope.cancelled_caught:
                self.abort()
                raise trio.BrokenResourceError(_SLOW)

    async def send_eof(self) -> None:
        """Close the sending side."""
        # The stream's own would let a concurrent `send_all` raise BusyResourceError.
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError):  # the peer has gone
            self.socket.shutdown(socket.SHUT_WR)

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive bytes; see `PlainStream.receive_some`."""
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first[:max_bytes], self._first[max_bytes:]
            return first
        return bytes(await self._stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    def abort(self) -> None:
        """Close the socket at once, which ends all waits for it."""
        self.socket.close()
