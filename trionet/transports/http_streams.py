"""The byte streams of the HTTP client, as httpx's engine (httpcore) uses them.

Invariant: what is written is sent when the answer is awaited: the head and the body of a request in one system call.
What goes wrong while sending shows when reading, because a peer may answer, and close, before the end of a request.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

import httpcore
import trio

if TYPE_CHECKING:
    import ssl

__all__ = ["PlainStream", "TLSStream", "tls_object"]

_JOINED_BYTES: Final = 64 * 1024
"""Shorter parts are copied into one."""


class _Corked(httpcore.AsyncNetworkStream):
    """Keeps what is written until something is read."""

    def __init__(self) -> None:
        self._unsent: list[bytes] = []

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  httpcore's
        """Keep `buffer` for the next `read`."""
        del timeout
        self._unsent.append(buffer)

    def _take(self) -> list[bytes]:
        unsent, self._unsent = self._unsent, []
        return [b"".join(unsent)] if sum(map(len, unsent)) < _JOINED_BYTES else unsent


class PlainStream(_Corked):
    """A connected, non-blocking socket of the standard library, which has no checkpoint where it needn't wait."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore's
        """Send what was written; then return bytes, or nothing at the end.

        Raises:
            httpcore.ReadError: the connection broke, or was closed on this side.
        """
        del timeout
        try:
            if self._unsent:
                await self._send()
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                with contextlib.suppress(BlockingIOError):
                    return self._sock.recv(max_bytes)
        except (OSError, ValueError, trio.ClosedResourceError) as exc:  # ValueError: it was closed before
            raise httpcore.ReadError(str(exc)) from exc

    async def _send(self) -> None:
        for part in self._take():
            rest = memoryview(part)
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._sock)
                except OSError:
                    return  # there may be an answer

    async def aclose(self) -> None:
        """Close the socket."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        await trio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> Any:
        """Return whether an idle connection has something to read, its end for example; None for all else."""
        return _has_input(self._sock) if info == "is_readable" else None


class TLSStream(_Corked):
    """A stream within TLS, whose handshake has been made."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        super().__init__()
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore's
        """See `PlainStream.read`."""
        del timeout
        try:
            with contextlib.suppress(trio.BrokenResourceError):
                for part in self._take():
                    await self._stream.send_all(part)
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore.ReadError(str(exc)) from exc

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """See `PlainStream.get_extra_info`."""
        return self._stream.transport_stream.socket.is_readable() if info == "is_readable" else None


def _has_input(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True  # it has broken
    return True


def tls_object(stream: trio.SSLStream[trio.SocketStream]) -> ssl.SSLObject:
    """Return the standard library's part of a stream."""
    found: ssl.SSLObject = stream._ssl_object  # noqa: SLF001  it has no public name
    return found
