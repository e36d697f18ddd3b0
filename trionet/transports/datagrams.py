"""Datagrams on a node's port number.

Invariant: sending never waits and never raises; a datagram that can't be sent at once is lost, as others on their way.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import trio

from trionet.errors import AddressInUse
from trionet.forks import keep_from_forks
from trionet.identity import NodeAddress
from trionet.log_limits import limited_log
from trionet.nurseries import open_plain_nursery
from trionet.trio_waits import Inputs

from .readiness import wait_readable
from .sockaddrs import lookup_host

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Protocol

    class Datagrams(Protocol):
        """A node's place on a network of datagrams."""

        def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
            """Send `data` to `to`, without a confirmation; return False where datagrams can't reach that address."""

        async def serve(self, handle: Callable[[bytes], None]) -> None:
            """Call ``handle(data)`` with each datagram, from any sender, until closed."""

        def close(self) -> None:
            """Send and receive nothing more."""

    class SourcedDatagrams(Datagrams, Protocol):
        """Datagrams whose sources are known."""

        async def serve_with_sources(self, handle: Callable[[bytes, NodeAddress], None]) -> None:
            """Call ``handle(data, source)`` with each datagram, and the address from which it came, until closed."""

    class _Carry(Protocol):
        def __call__(self, to: NodeAddress, data: bytes, /) -> None: ...


__all__ = ["QueuedDatagrams", "UDPDatagrams"]

_log = limited_log(__name__)

T = TypeVar("T")

_MOST_BYTES: Final = 65_535
_BUFFER_BYTES: Final = 1024 * 1024
_READ_AT_ONCE: Final = 8
"""How many datagrams of a burst are handled before other tasks have their turn."""
_MOST_KEPT: Final = 4096
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class UDPDatagrams:
    """Datagrams by UDP."""

    def __init__(self, socks: Sequence[socket.socket]) -> None:
        """Use bound sockets of one port number, which don't block."""
        self._socks = list(socks)
        self._sender: dict[bool, socket.socket] = {}
        self._serving = trio.CancelScope()
        for sock in self._socks:
            keep_from_forks(sock)
            self._sender.setdefault(sock.family == socket.AF_INET6, sock)

    @classmethod
    def bound(cls, ips: str | Sequence[str], port: int) -> Self:
        """Bind to an IP address, or several, and a port.

        Raises:
            AddressInUse: another program has it.
            OSError: it can't be bound for another reason.
        """
        socks: list[socket.socket] = []
        with ExitStack() as opened:
            for ip in [ips] if isinstance(ips, str) else ips:
                socks.append(opened.enter_context(_bound(ip, port)))
                port = socks[-1].getsockname()[1]
            opened.pop_all()
        return cls(socks)

    @property
    def port(self) -> int:
        """The port, the real one."""
        port: int = self._socks[0].getsockname()[1]
        return port

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send `data` to `to`, an IP address of one of the sockets' families."""
        target, is_ipv6 = _sockaddr(to.ip, to.port)
        sock = self._sender.get(is_ipv6)
        if target is None or sock is None:
            return False
        try:
            sock.sendto(data, target)
        except OSError as exc:  # full buffers, no receiver, no route, closed
            _log.debug("a datagram to %s could not be sent: %s", to, exc)
        return True

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(data)`` with each datagram, until closed."""
        await self._serve(lambda sock: _receive(sock, sock.recv, handle))

    async def serve_with_sources(self, handle: Callable[[bytes, NodeAddress], None]) -> None:
        """Call ``handle(data, source)`` with each datagram, and the address from which it came, until closed."""

        def handle_pair(received: tuple[bytes, Any]) -> None:
            data, (ip, port, *_) = received
            handle(data, NodeAddress(ip, port))

        await self._serve(lambda sock: _receive(sock, sock.recvfrom, handle_pair))

    async def _serve(self, receive: Callable[[socket.socket], Awaitable[None]]) -> None:
        with trio.CancelScope() as self._serving:
            async with open_plain_nursery() as nursery:
                for sock in self._socks:
                    nursery.start_soon(receive, sock)

    def close(self) -> None:
        """Send and receive nothing more."""
        self._serving.cancel()
        for sock in self._socks:
            sock.close()


async def _receive(sock: socket.socket, receive: Callable[[int], T], handle: Callable[[T], None]) -> None:
    """Call ``handle`` with what `receive`, a method of `sock`, returns for each datagram, until cancelled."""
    inputs = Inputs.of_this_run()

    @trio.lowlevel.disable_ki_protection  # it runs handlers of rumors
    def receive_one() -> bool:
        try:
            received = receive(_MOST_BYTES)
        except OSError:  # none is left; or ICMP reported an earlier one as undeliverable; or it is closed
            return False
        handle(received)
        return True

    def receive_next() -> None:
        receive_one()

    inputs.users += 1
    try:
        while sock.fileno() >= 0:
            if inputs.is_worth_it and inputs.begin():
                await inputs.receive(sock.fileno(), receive_next)
            else:
                await wait_readable(sock)
                for _ in range(_READ_AT_ONCE):
                    if not receive_one():
                        break
    finally:
        inputs.users -= 1


def _bound(ip: str, port: int) -> socket.socket:
    ((family, *_, sockaddr),) = socket.getaddrinfo(lookup_host(ip), port, type=socket.SOCK_DGRAM, flags=_NUMERIC)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        # For the datagrams during a stall of this process: their loss would look like its failure.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"UDP port {port} of {ip} is already in use") from exc
        raise
    return sock


_NOWHERE: Final = NodeAddress("0.0.0.0", 0)  # noqa: S104  no address of anybody


class QueuedDatagrams:
    """Datagrams between nodes of one process, carried by a function.

    Attributes:
        lost: the number of datagrams that arrived before `serve`, beyond the first 4,096.
    """

    def __init__(self, carry: _Carry) -> None:
        self.lost: int = 0
        self._carry = carry
        self._handle: Callable[[bytes, NodeAddress], None] | None = None
        self._kept: list[tuple[bytes, NodeAddress]] = []
        self._closed = trio.Event()

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(data)`` with each datagram, at once, until closed."""
        await self.serve_with_sources(lambda data, _: handle(data))

    async def serve_with_sources(self, handle: Callable[[bytes, NodeAddress], None]) -> None:
        """Call ``handle(data, source)`` with each datagram, at once, until closed."""
        self._handle = handle
        for data, source in self._kept:
            handle(data, source)
        self._kept.clear()
        try:
            await self._closed.wait()
        finally:
            self._handle = None

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send `data` to `to`."""
        if not self._closed.is_set():
            self._carry(to, data)
        return True

    def put(self, data: bytes, source: NodeAddress = _NOWHERE) -> None:
        """Handle a datagram that has arrived from `source`; by default, from nowhere."""
        if self._handle is not None:
            self._handle(data, source)
        elif len(self._kept) < _MOST_KEPT:
            self._kept.append((data, source))
        else:
            self.lost += 1

    def close(self) -> None:
        """Send and receive nothing more."""
        self._closed.set()


@functools.lru_cache(maxsize=16_384)
def _sockaddr(ip: str, port: int) -> tuple[Any, bool]:
    """Return the socket address, None if it is no destination; and whether it is IPv6."""
    try:
        # Only an interface, as in "fe80::1%eth0", needs the system.
        version = ipaddress.ip_address(ip).version
        sockaddr = socket.getaddrinfo(lookup_host(ip), port, flags=_NUMERIC)[0][4] if "%" in ip else (ip, port)
    except (ValueError, OSError):
        return None, False  # a host name: its resolution takes time
    return (sockaddr if port else None), version == 6  # noqa: PLR2004  IPv6
