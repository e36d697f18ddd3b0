"""Waiting for sockets of the standard library.

Invariant: nobody waits for a socket that is closed. Trio would keep that wait, under the number -1, and refuse the
next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket

__all__ = ["wait_readable", "wait_writable"]


async def wait_readable(sock: socket.socket) -> None:
    """Wait until `sock` has input.

    Raises:
        trio.ClosedResourceError: it is closed, or is closed meanwhile.
    """
    _check_open(sock)
    await trio.lowlevel.wait_readable(sock)


async def wait_writable(sock: socket.socket) -> None:
    """Wait until `sock` takes output.

    Raises:
        trio.ClosedResourceError: it is closed, or is closed meanwhile.
    """
    _check_open(sock)
    await trio.lowlevel.wait_writable(sock)


def _check_open(sock: socket.socket) -> None:
    if sock.fileno() < 0:
        raise trio.ClosedResourceError("this side has closed the socket")
