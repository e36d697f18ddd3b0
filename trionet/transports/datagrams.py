"""Datagrams on a node's port number: short, cheap, and without promise.

Invariant: sending never waits and never raises; what can't go out now is lost, as it might be on the way.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trionet.errors import AddressInUse
from trionet.forks import keep_from_forks
from trionet.log_limits import limited_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trionet.identity import NodeAddress

__all__ = ["Datagrams", "QueuedDatagrams", "UDPDatagrams"]

_log = limited_log(__name__)

_MOST_BYTES: Final = 65_535
_BUFFER_BYTES: Final = 1024 * 1024
_READ_AT_ONCE: Final = 32
_KEPT: Final = 4096
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Datagrams(Protocol):
    """A node's place on a network of datagrams."""

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send `data` to `to`, if all goes well. False: that address can't be sent to, now or ever."""
        ...

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(data)`` with each datagram, whoever sent it, until closed."""
        ...

    async def receive(self) -> bytes:
        """Wait for the next datagram.

        Raises:
            trio.ClosedResourceError: it was closed.
        """
        ...

    def close(self) -> None:
        """Send and receive nothing more."""
        ...


class UDPDatagrams:
    """Datagrams by UDP."""

    def __init__(self, ips: str | Sequence[str], port: int) -> None:
        """Bind to an IP address, or several, and a port.

        Raises:
            AddressInUse: another program has it.
            OSError: something else is in the way.
        """
        self._socks: list[socket.socket] = []
        self._sender: dict[bool, socket.socket] = {}
        self._came: deque[bytes] = deque()
        try:
            for ip in [ips] if isinstance(ips, str) else ips:
                sock = _bound(ip, port)
                keep_from_forks(sock)
                self._socks.append(sock)
                self._sender.setdefault(sock.family == socket.AF_INET6, sock)
                port = sock.getsockname()[1]
        except BaseException:
            for sock in self._socks:
                sock.close()
            raise
        self._sock = self._socks[0]  # all but names have one

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send `data` to `to`, which must be an IP address of one of the sockets' families."""
        target, is_ipv6 = _sockaddr(to.ip, to.port)
        sock = self._sender.get(is_ipv6)
        if target is None or sock is None:
            return False
        try:
            sock.sendto(data, target)
        except OSError as exc:  # the buffers are full, nobody listens there, no route, closed
            _log.debug("a datagram to %s could not be sent: %s", to, exc)
        return True

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(data)`` with each datagram, until closed."""
        with suppress(trio.ClosedResourceError):
            while True:
                handle(await self.receive())

    async def receive(self) -> bytes:
        """Wait for the next datagram."""
        if not self._came:
            await self._wait()
        return self._came.popleft()

    async def _wait(self) -> None:
        await trio.lowlevel.checkpoint()  # also when there is always more: others must get their turn
        while not self._came:
            for sock in self._socks:
                self._read(sock)
            if not self._came:
                await self._readable()

    async def _readable(self) -> None:
        if len(self._socks) == 1:
            await trio.lowlevel.wait_readable(self._sock)
            return
        try:
            async with trio.open_nursery() as nursery:

                async def wait(sock: socket.socket) -> None:
                    await trio.lowlevel.wait_readable(sock)
                    nursery.cancel_scope.cancel()

                for sock in self._socks:
                    nursery.start_soon(wait, sock)
        except* trio.ClosedResourceError:
            pass  # reading tells it, without the group

    def _read(self, sock: socket.socket) -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                self._came.append(sock.recv(_MOST_BYTES))
            except BlockingIOError:
                return
            except OSError as exc:
                if sock.fileno() < 0:
                    raise trio.ClosedResourceError from exc
                # An earlier datagram met nobody (ICMP); it says nothing of the next ones.

    def close(self) -> None:
        """Send and receive nothing more."""
        for sock in self._socks:
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()


def _bound(ip: str, port: int) -> socket.socket:
    ((family, *_, place),) = socket.getaddrinfo(ip, port, type=socket.SOCK_DGRAM, flags=_NUMERIC)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        # What comes while this process can't run must fit, or a stall would look like loss to the others.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"UDP port {port} of {ip} is already in use") from exc
        raise
    return sock


class QueuedDatagrams:
    """Datagrams between nodes of one process; what carries them is a function's business.

    Attributes:
        put: to be called with each datagram that has come.
        lost: how many came while too many waited.
    """

    def __init__(self, carry: _Carry) -> None:
        self.put: Callable[[bytes], None] = self._keep
        self._carry = carry
        self._waiting: deque[bytes] = deque()
        self._came = trio.lowlevel.ParkingLot()
        self._is_closed = False
        self.lost: int = 0

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(data)`` with each datagram, at once, until cancelled."""
        self.put = handle
        while self._waiting:
            handle(self._waiting.popleft())
        try:
            await trio.sleep_forever()
        finally:
            self.put = self._keep

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send `data` to `to`."""
        if not self._is_closed:
            self._carry(to, data)
        return True

    def _keep(self, data: bytes) -> None:
        if len(self._waiting) >= _KEPT:
            self.lost += 1
            return
        self._waiting.append(data)
        self._came.unpark()

    async def receive(self) -> bytes:
        """Wait for the next datagram."""
        if not self._waiting:
            await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._is_closed:
                raise trio.ClosedResourceError
            await self._came.park()
        return self._waiting.popleft()

    def close(self) -> None:
        """Send and receive nothing more."""
        self._is_closed = True
        self._waiting.clear()
        self._came.unpark_all()


class _Carry(Protocol):
    def __call__(self, to: NodeAddress, data: bytes, /) -> None: ...


@functools.lru_cache(maxsize=16_384)
def _sockaddr(ip: str, port: int) -> tuple[Any, bool]:
    """Return what the system calls an address, or None where it is none to send to; and whether it is IPv6."""
    try:
        # The system is only asked where there is an interface in it, "fe80::1%eth0".
        version = ipaddress.ip_address(ip).version
        place = socket.getaddrinfo(ip, port, flags=_NUMERIC)[0][4] if "%" in ip else (ip, port)
    except (ValueError, OSError):
        return None, False  # a name: finding its address would take time
    return (place if port else None), version == 6  # noqa: PLR2004  IPv6
