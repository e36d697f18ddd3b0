"""A node's place on the real network: its port, what is served there, and its calls to other nodes.

One port for everything: the first byte of a connection tells a link from HTTP.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from .http import HTTPTransport
from .link import LinkTransport
from .link.frames import MARK
from .link.handshake import HandshakeError
from .listener import Connection, Listener, open_listener
from .web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_trio import QuartTrio

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress

    from .base import Handler

__all__ = ["NetworkEndpoint", "open_network_endpoint"]

_log = logging.getLogger(__name__)

_FIRST_BYTES = 4096


class NetworkEndpoint:
    """Fulfils `trionet.transports.base.Endpoint` with TCP.

    Attributes:
        transport: what its own calls go out by: links, or HTTP if the configuration says so.
    """

    def __init__(
        self, listener: Listener, config: NodeConfig, handler: Handler, on_orphan: Callable[[OrphanedCall], None]
    ) -> None:
        self._listener = listener
        self._config = config
        self._web = WebServer(handler, config)
        self._links = LinkTransport(config, handler, on_orphan)
        self._http = HTTPTransport(config)
        self.transport: LinkTransport | HTTPTransport = self._links if config.transport == "link" else self._http

    @property
    def address(self) -> NodeAddress:
        """Where other nodes reach it."""
        return self._listener.address

    @property
    def app(self) -> QuartTrio:
        """The app of its HTTP face."""
        return self._web.app

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._web.run)
                await nursery.start(self._links.run, self.address)
                task_status.started()
                await self._listener.serve(lambda stream: _Incoming(stream, self._config, self._web, self._links))
        finally:
            self.close()
            with trio.CancelScope(shield=True):
                await self._http.aclose()

    def close(self) -> None:
        """Refuse new connections, at once."""
        self._listener.close()
        self._web.closing = True

    async def drain(self) -> None:
        """Refuse new connections, and wait until the calls it is answering have been answered."""
        await self._web.finish()
        self._links.retire("this node is stopping")
        await self._listener.drain()
        await self._links.drained()


async def open_network_endpoint(
    config: NodeConfig, handler: Handler, on_orphan: Callable[[OrphanedCall], None]
) -> NetworkEndpoint:
    """Listen on the configured address.

    Args:
        config: the node's.
        handler: who runs the calls that come in.
        on_orphan: told of each call that was cancelled and not confirmed to have finished.

    Raises:
        AddressInUse: another program does.
        ConfigError: the address isn't this machine's, or would open the node to others without protection.
    """
    config.check_bind()
    return NetworkEndpoint(await open_listener(config), config, handler, on_orphan)


class _Incoming:
    """An accepted connection: nothing is known of it until its first bytes come."""

    def __init__(self, stream: trio.SocketStream, config: NodeConfig, web: WebServer, links: LinkTransport) -> None:
        self._stream = stream
        self._config = config
        self._web = web
        self._links = links
        self._accepted_at = trio.current_time()
        self._is_aborted = False
        self._connection: Connection | None = None

    @property
    def idle_since(self) -> float | None:
        return self._connection.idle_since if self._connection else self._accepted_at

    async def run(self) -> None:
        try:
            with trio.move_on_after(self._config.idle_timeout_s):
                first = bytes(await self._stream.receive_some(_FIRST_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        if self._is_aborted or not first:
            return
        if first.startswith(MARK):
            await self._run_link(first)
        else:
            self._connection = connection = self._web.connect(self._stream, first)
            await connection.run()

    async def _run_link(self, first: bytes) -> None:
        try:
            self._connection = link = await self._links.accept(self._stream, first)
        except (HandshakeError, OSError, trio.BrokenResourceError, trio.TooSlowError) as exc:
            _log.warning("a connection that began as a link was closed: %s", exc or type(exc).__name__)
            return
        if self._is_aborted:
            link.abort()
        await self._links.keep(link)

    def abort(self) -> None:
        self._is_aborted = True
        if self._connection is not None:
            self._connection.abort()
        else:
            self._stream.socket.close()
