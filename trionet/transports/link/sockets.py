"""The sockets of links: non-blocking sockets of the standard library.

Trio's sockets have a checkpoint in each operation. Links read and write many frames in one scheduler pass, and write a
lone call in the caller's task, without a checkpoint.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.forks import keep_from_forks
from trionet.transports.readiness import wait_readable, wait_writable
from trionet.transports.sockaddrs import lookup_host
from trionet.trio_waits import Inputs

if TYPE_CHECKING:
    from trionet.identity import NodeAddress

__all__ = ["bound_queue", "close_now", "connect", "linger", "plain_socket", "receive", "send_all", "set_options"]

_NOT_SENT_LOW_WATER_BYTES: Final = 128 * 1024
_NEAR_US: Final = 200
_NEAR_BUFFER_BYTES: Final = 400_000
"""With this and a round trip of `_NEAR_US` 2 GB/s can flow."""

_RTT_IN_TCP_INFO: Final = slice(68, 72)
"""The place of the round trip, in microseconds. Source: struct tcp_info in linux/tcp.h."""

_CONNECTING: Final = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
"""What is left after a second attempt to connect."""

_REFUSED_LINGER_S: Final = 0.5
_LINGER_BYTES: Final = 4096


async def connect(node: NodeAddress) -> socket.socket:
    """Return a socket connected to `node`; without a checkpoint where that takes no time, as on one machine.

    Raises:
        OSError: the connection failed.
    """
    try:
        numeric = _numeric(node)
        if numeric is None:  # a name: several addresses, which are tried in turn
            return plain_socket(await trio.open_tcp_stream(lookup_host(node.ip), node.port))
    except UnicodeError as exc:  # of the codec, or of Trio's, which accepts fewer names
        raise OSError(f"this is no name of a host: {exc}") from exc
    family, address = numeric
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        set_options(sock)
        failure = sock.connect_ex(address)
        if failure == errno.EINPROGRESS:
            failure = sock.connect_ex(
                address
            )  # on one machine it is connected by now, and nothing has to be waited for
        if failure in _CONNECTING:
            await wait_writable(sock)
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure not in (0, errno.EISCONN):
            raise OSError(failure, os.strerror(failure))
    except BaseException:
        sock.close()
        raise
    return sock


def _numeric(node: NodeAddress) -> tuple[int, Any] | None:
    """Return the family and the socket's address of a node that is given by an IP address; None for a name.

    Raises:
        UnicodeError: it is no name, either.
    """
    with suppress(OSError, ValueError):
        socket.inet_pton(socket.AF_INET, node.ip)  # much faster than the general way below
        return socket.AF_INET, (node.ip, node.port)
    with suppress(socket.gaierror):
        found = socket.getaddrinfo(
            lookup_host(node.ip), node.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        return found[0][0], found[0][4]
    return None


def plain_socket(stream: trio.SocketStream) -> socket.socket:
    """Detach and return the stream's socket."""
    found = stream.socket
    sock = socket.socket(found.family, found.type, found.proto, fileno=found.detach())
    set_options(sock)
    return sock


def set_options(sock: socket.socket) -> None:
    """Make a connected socket ready for a link."""
    keep_from_forks(sock)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        # Bound the unsent bytes in the kernel's buffer, so that a short frame needn't wait behind megabytes.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_LOW_WATER_BYTES)


def bound_queue(sock: socket.socket) -> None:
    """Bound the unread bytes in the kernel's buffer, if the peer is near: a short frame waits behind all of them.

    Over a long way much has to be under way. There the kernel finds the size of the buffer by itself, up to megabytes.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_IN_TCP_INFO.stop)
        if int.from_bytes(info[_RTT_IN_TCP_INFO], sys.byteorder) <= _NEAR_US:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NEAR_BUFFER_BYTES)


def close_now(sock: socket.socket) -> None:
    """Close a socket, and end all waits for it."""
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock)
        Inputs.of_this_run().notify_closing(sock.fileno())
        sock.close()


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send `data`; raises `OSError` if the connection broke."""
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await wait_writable(sock)


async def receive(sock: socket.socket, most: int) -> bytes:
    """Wait for input and return it; nothing at the end. Raises `OSError` if the connection broke."""
    while True:
        await wait_readable(sock)
        with suppress(BlockingIOError):
            return sock.recv(most)


async def linger(sock: socket.socket) -> None:
    """Wait until a refused peer closes: closing with unread input resets the connection, and it loses the reason."""
    with trio.move_on_after(_REFUSED_LINGER_S):
        sock.shutdown(socket.SHUT_WR)
        while await receive(sock, _LINGER_BYTES):
            pass
