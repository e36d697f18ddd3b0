"""Waiting for sockets of the standard library.

Invariant: nobody waits for a socket that is closed. Trio would keep that wait, under the number -1, and refuse the
next.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    import socket

__all__ = ["check_open", "has_left", "wait_readable", "wait_writable"]

_PEER_CLOSED: Final[int] = getattr(select, "POLLRDHUP", 0)
"""Not on all systems."""


async def wait_readable(sock: socket.socket) -> None:
    """Wait until `sock` has input.

    Raises:
        trio.ClosedResourceError: it is closed, or is closed meanwhile.
    """
    check_open(sock)
    await trio.lowlevel.wait_readable(sock)


async def wait_writable(sock: socket.socket) -> None:
    """Wait until `sock` takes output.

    Raises:
        trio.ClosedResourceError: it is closed, or is closed meanwhile.
    """
    check_open(sock)
    await trio.lowlevel.wait_writable(sock)


def has_left(sock: socket.socket | trio.socket.SocketType) -> bool:
    """Return whether the peer of a connection has closed it, even if not all that it has sent has been received.

    False where the system does not tell. Source: poll(2), POLLRDHUP.
    """
    if sock.fileno() < 0:
        return True
    if not _PEER_CLOSED:
        return False
    asked = select.poll()
    asked.register(sock.fileno(), _PEER_CLOSED)
    return bool(asked.poll(0))


def check_open(sock: socket.socket) -> None:
    """Raise `trio.ClosedResourceError` if `sock` is closed."""
    if sock.fileno() < 0:
        raise trio.ClosedResourceError("this side has closed the socket")
