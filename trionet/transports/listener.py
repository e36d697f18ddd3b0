"""The node's port: accepts connections, bounds their number, and keeps each one's trouble to itself.

Invariants: an exception in serving a connection ends that one only; once `close` has returned no further connection is
accepted; when `serve` ends no socket is left open.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Protocol

import trio

from trionet.errors import AddressInUse, ConfigError
from trionet.forks import keep_from_forks
from trionet.identity import NodeAddress
from trionet.log_limits import about, limited_log, peer_ip

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.config import NodeConfig

__all__ = ["Connection", "Listener", "RequestSession", "Session", "open_listener"]

_log = limited_log(__name__)

_BACKLOG = 1024
_FILES_KEPT_FREE = 64


class Session(Protocol):
    """What goes on on a connection, once it is known what it is for."""

    @property
    def idle_since(self) -> float | None:
        """When it became idle, on Trio's clock; None while it is in use."""

    async def run(self) -> None:
        """Serve until either side is done."""

    def abort(self) -> None:
        """Close the socket at once; whatever waits on it is woken."""


class RequestSession(Session, Protocol):
    """A session of requests."""

    @property
    def unfinished_since(self) -> float | None:
        """Since when its peer owes it a first request, or the rest of one, on Trio's clock; None where it owes none."""


class Connection(RequestSession, Protocol):
    """One accepted connection."""

    def finish(self) -> None:
        """Don't wait for what hasn't begun: the node is stopping."""


class Listener:
    """Accepts connections on one address.

    Attributes:
        address: where it listens, with the real port, as others reach it.
        bound: the IP address and the port that it listens on.
    """

    def __init__(self, listeners: list[trio.SocketListener], address: NodeAddress, max_connections: int) -> None:
        self.address = address
        ip, port = listeners[0].socket.getsockname()[:2]
        self.bound: tuple[str, int] = (ip, port)
        self._listeners = listeners
        for listener in listeners:
            keep_from_forks(listener.socket)
        self._max_connections = max_connections
        self._connections: dict[Connection, None] = {}
        self._all_ended = trio.Event()

    async def serve(self, connect: Callable[[trio.SocketStream], Connection]) -> None:
        """Serve connections, each by what `connect` makes of its stream, until cancelled; then end them all."""

        async def handle(stream: trio.SocketStream) -> None:
            keep_from_forks(stream.socket)
            peer = peer_ip(stream.socket)
            if not self._make_room():
                _log.warning("a connection was refused: %d are in use", len(self._connections), extra=about(peer))
                await trio.aclose_forcefully(stream)
                return
            connection = connect(stream)
            self._connections[connection] = None
            try:
                await connection.run()
            except* Exception as group:
                # Hypercorn has let out exceptions that a peer caused (its issues 225 and 177).
                _log.warning("a connection was closed because serving it failed", exc_info=group, extra=about(peer))
            finally:
                connection.abort()
                self._connections.pop(connection, None)
                if not self._connections:
                    self._all_ended.set()
                    self._all_ended = trio.Event()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._abort_when_cancelled)
            try:
                await trio.serve_listeners(handle, self._listeners, handler_nursery=nursery)
            except* trio.ClosedResourceError:
                pass  # close() was called; the connections in use go on

    async def drain(self) -> None:
        """Refuse further connections, and wait until the last one has ended."""
        self.close()
        for connection in list(self._connections):
            connection.finish()
        while self._connections:
            await self._all_ended.wait()

    def close(self) -> None:
        """Refuse further connections, at once, also where another process has a copy of the socket."""
        for listener in self._listeners:
            with contextlib.suppress(OSError):  # it has been closed, or is not one that can be shut down
                listener.socket.shutdown(socket.SHUT_RDWR)
            listener.socket.close()

    async def _abort_when_cancelled(self) -> None:
        # Hypercorn shields its writes: only a closed socket ends one to a peer that doesn't read.
        try:
            await trio.sleep_forever()
        finally:
            self.close()
            for connection in list(self._connections):
                connection.abort()

    def _make_room(self) -> bool:
        """Return whether there is room for one more connection, others being closed for it.

        First those go that have no finished request, the oldest first: half-sent requests cost their sender nothing,
        and must not displace who is served. Then the longest idle ones go.
        """
        while len(self._connections) >= self._max_connections:
            connection = self._longest(lambda connection: connection.unfinished_since)
            connection = connection or self._longest(lambda connection: connection.idle_since)
            if connection is None:
                return False
            del self._connections[connection]  # at once: its task takes a while to end, and others may come meanwhile
            connection.abort()
        return True

    def _longest(self, since: Callable[[Connection], float | None]) -> Connection | None:
        """Return the connection for which `since` gives the earliest time; None where it gives none."""
        found = [(when, connection) for connection in self._connections if (when := since(connection)) is not None]
        return min(found, key=lambda pair: pair[0])[1] if found else None


async def open_listener(config: NodeConfig) -> Listener:
    """Listen on the configured address.

    Raises:
        AddressInUse: another program does.
        ConfigError: the address is not this machine's, or its port needs privileges.
    """
    wanted = NodeAddress(config.ip, config.port)
    try:
        listeners = await _listeners(config)
    except OSError as exc:
        # trio raises one OSError from a group of them when every address that the name has fails.
        reason = next((cause for cause in _causes(exc) if cause.errno), exc)
        if reason.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{wanted} is already in use") from exc
        raise ConfigError(f"can't listen on {wanted}: {reason.strerror or reason}") from exc
    port = listeners[0].socket.getsockname()[1]
    address = NodeAddress(config.advertise_ip or config.ip, port)
    return Listener(listeners, address, _connection_limit(config.max_connections))


async def _listeners(config: NodeConfig) -> list[trio.SocketListener]:
    if not _is_ip(config.ip):
        return await trio.open_tcp_listeners(config.port, host=config.ip, backlog=_BACKLOG)
    # The same without the look-up of the name, for which Trio starts a thread.
    sock = trio.socket.socket(socket.AF_INET6 if ":" in config.ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind((config.ip, config.port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return [trio.SocketListener(sock)]


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _causes(exc: BaseException) -> list[OSError]:
    cause = exc.__cause__
    leaves = list(cause.exceptions) if isinstance(cause, BaseExceptionGroup) else [cause]
    return [leaf for leaf in (exc, *leaves) if isinstance(leaf, OSError)]


def _connection_limit(wanted: int) -> int:
    """Return how many connections to take, with some of the process's open files kept for other uses."""
    try:
        import resource
    except ImportError:  # not on Windows
        return wanted
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files - _FILES_KEPT_FREE))
