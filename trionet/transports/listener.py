"""The listener of a node's port: accepts connections, bounds their number, and isolates their failures.

Invariants: an exception in serving a connection ends only that one; no connection is accepted after `close`; no socket
is open after `serve`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from typing import TYPE_CHECKING, Any

import trio

from trionet.errors import AddressInUse, ConfigError
from trionet.forks import keep_from_forks
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log

from .accepting import accept_all
from .advertised import advertised_ip
from .link.sockets import close_now
from .sockaddrs import ip_of, lookup_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from trionet.config import NodeConfig

    class Session(Protocol):
        """The protocol of a connection, once known."""

        @property
        def idle_since(self) -> float | None:
            """The time when it became idle, on Trio's clock; None during use."""

        def abort(self) -> None:
            """Close the socket at once, which ends all waits for it."""

    class RequestSession(Session, Protocol):
        """A session of requests."""

        async def run(self) -> None:
            """Serve until either side is done."""

        @property
        def unfinished_since(self) -> float | None:
            """When the wait for its first request, or the rest of one, began, on Trio's clock; None without a wait."""

    class Connection(RequestSession, Protocol):
        """One accepted connection."""

        def finish(self) -> None:
            """Close it if it has no request in progress: the node is stopping."""


__all__ = ["Listener", "open_listener", "shared_listener"]

_log = limited_log(__name__)

_BACKLOG = 1024
_FILES_KEPT_FREE = 64
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class Listener:
    """Accepts connections on one address.

    Attributes:
        address: its address for other nodes.
        ips: the IP addresses that it listens on: one, or all of a host name, with the same port number.
        port: that number, which others may reach by another one.
    """

    def __init__(
        self,
        listeners: list[trio.SocketListener],
        address: NodeAddress,
        max_connections: int,
        *,
        is_shared: bool = False,
    ) -> None:
        """Listen on `listeners`, whose sockets another process goes on to use if `is_shared`."""
        self.address = address
        self._is_shared = is_shared
        self._socks = [_detached(listener.socket) for listener in listeners]
        self.ips: list[str] = [ip_of(sock.getsockname()) for sock in self._socks]
        self.port: int = self._socks[0].getsockname()[1]
        self._max_connections = max_connections
        self._connections: dict[Connection, None] = {}
        self._all_ended = trio.Event()

    async def serve(self, connect: Callable[[socket.socket, str], Connection]) -> None:
        """Serve connections, made by `connect` from sockets and the peers' addresses, until cancelled; then end all."""

        def handle(sock: socket.socket, peer: str) -> None:
            if not self._make_room():
                _log.warning("a connection was refused: %d are in use", len(self._connections), extra=about(peer))
                sock.close()
                return
            connection = connect(sock, peer)
            self._connections[connection] = None  # now: tasks of one pass begin in any order
            nursery.start_soon(self._run, connection, peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._abort_when_cancelled)
            for sock in self._socks:
                nursery.start_soon(accept_all, sock, handle)

    async def _run(self, connection: Connection, peer: str) -> None:
        try:
            await connection.run()
        except* Exception as group:
            # Hypercorn has raised exceptions caused by a peer (its issues 225 and 177).
            _log.warning("a connection was closed because serving it failed", exc_info=group, extra=about(peer))
        finally:
            connection.abort()
            self._connections.pop(connection, None)
            if not self._connections:
                self._all_ended.set()
                self._all_ended = trio.Event()

    async def drain(self) -> None:
        """Refuse further connections, and wait for the end of all."""
        self.close()
        for connection in list(self._connections):
            connection.finish()
        while self._connections:
            await self._all_ended.wait()

    def close(self) -> None:
        """Refuse further connections, at once, even while another process has a copy of the socket.

        On a shared one they wait for the next process.
        """
        for sock in self._socks:
            with contextlib.suppress(OSError):  # closed already, or without shutdown
                if not self._is_shared:
                    sock.shutdown(socket.SHUT_RDWR)
            close_now(sock)

    async def _abort_when_cancelled(self) -> None:
        # Hypercorn shields its writes: only closing the socket ends one to a peer that doesn't read.
        try:
            await trio.sleep_forever()
        finally:
            self.close()
            for connection in list(self._connections):
                connection.abort()

    def _make_room(self) -> bool:
        """Close connections to make room for one more; return whether there is room.

        Connections without a complete request are closed first, oldest first: incomplete requests are cheap, and must
        not displace served ones. Then the longest idle ones are closed.
        """
        while len(self._connections) >= self._max_connections:
            connection = self._longest(lambda connection: connection.unfinished_since)
            connection = connection or self._longest(lambda connection: connection.idle_since)
            if connection is None:
                return False
            del self._connections[connection]  # at once: its task ends later, and more connections may come before
            connection.abort()
        return True

    def _longest(self, since: Callable[[Connection], float | None]) -> Connection | None:
        """Return the connection with the earliest ``since(connection)``; None if all of these are None."""
        found = [(when, connection) for connection in self._connections if (when := since(connection)) is not None]
        return min(found, key=lambda pair: pair[0])[1] if found else None


async def open_listener(config: NodeConfig) -> Listener:
    """Listen on the configured address, or on all addresses of a host name with one port number.

    Raises:
        AddressInUse: another program listens there. With port 0: the number that was free for one address is in use
            for another; another attempt may succeed.
        ConfigError: the address is not this machine's, or its port needs privileges.
    """
    wanted = NodeAddress(config.ip, config.port)
    try:
        found = await trio.socket.getaddrinfo(
            lookup_host(config.ip), config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockaddrs = list(dict.fromkeys((family, place) for family, *_, place in found))
        listeners = [trio.SocketListener(sock) for sock in await _bound(sockaddrs, config.port)]
    except (OSError, UnicodeError) as exc:
        if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{wanted} is already in use") from exc
        raise ConfigError(f"can't listen on {wanted}: {getattr(exc, 'strerror', None) or exc}") from exc
    return await _listener_of(config, listeners)


async def _listener_of(
    config: NodeConfig, listeners: list[trio.SocketListener], *, is_shared: bool = False
) -> Listener:
    ip, port, *_ = listeners[0].socket.getsockname()
    try:
        address = NodeAddress(await advertised_ip(config, ip), config.advertise_port or port)
    except ConfigError:
        for listener in listeners:
            listener.socket.close()
        raise
    return Listener(listeners, address, _connection_limit(config.max_connections), is_shared=is_shared)


async def shared_listener(config: NodeConfig, socks: Sequence[socket.socket]) -> Listener:
    """Listen on sockets of one port number that another process has opened, and goes on to use.

    Raises:
        ConfigError: the address to advertise is not known.
    """
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in socks]
    return await _listener_of(config, listeners, is_shared=True)


async def _bound(sockaddrs: Sequence[tuple[int, Any]], port: int) -> list[trio.socket.SocketType]:
    """Return a listening socket for each address of this machine in `sockaddrs`, with one port number.

    Raises:
        OSError: one of them is in use, or `sockaddrs` has none.
    """
    socks: list[trio.socket.SocketType] = []
    missing: dict[str, OSError] = {}
    with contextlib.ExitStack() as bound:
        for family, place in sockaddrs:
            try:
                sock = await _listening(family, (place[0], port, *place[2:]))
            except OSError as exc:
                if exc.errno not in _NOT_HERE:
                    raise
                missing[place[0]] = exc
            else:
                socks.append(bound.enter_context(sock))
                port = sock.getsockname()[1]
        bound.pop_all()
    if not socks:
        raise next(iter(missing.values()), OSError(errno.EADDRNOTAVAIL, "it has no address"))
    for ip, reason in missing.items():
        # Host names often have an IPv6 address, as "::1", on machines without IPv6.
        _log.info("not listening on %s: %s", ip, reason.strerror, extra=about("", ip=ip))
    return socks


async def _listening(family: int, place: Any) -> trio.socket.SocketType:
    # As Trio's own `open_tcp_listeners`, which can't use one port number for all.
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind(place)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _detached(sock: trio.socket.SocketType) -> socket.socket:
    """Return the socket of the standard library that takes over one of Trio's."""
    found = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    found.setblocking(False)
    keep_from_forks(found)
    return found


def _connection_limit(wanted: int) -> int:
    """Return the limit of connections, with some open files reserved for other uses."""
    try:
        import resource
    except ImportError:  # not on Windows
        return wanted
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files - _FILES_KEPT_FREE))
