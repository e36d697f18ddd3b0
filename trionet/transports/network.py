"""A node's place on the real network: its port, what is served there, and its calls to other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .http import HTTPTransport
from .listener import Listener, open_listener
from .web import WebServer

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

    from .base import Handler

__all__ = ["NetworkEndpoint", "open_network_endpoint"]


class NetworkEndpoint:
    """Fulfils `trionet.transports.base.Endpoint` with TCP."""

    def __init__(self, listener: Listener, config: NodeConfig) -> None:
        self._listener = listener
        self._config = config
        self._web: WebServer | None = None
        self.transport = HTTPTransport(config)

    @property
    def address(self) -> NodeAddress:
        """Where other nodes reach it."""
        return self._listener.address

    @property
    def app(self) -> QuartTrio | None:
        """The app of its HTTP face, once it serves."""
        return self._web.app if self._web else None

    async def serve(self, handler: Handler, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer calls with `handler` until cancelled."""
        self._web = WebServer(handler, self._config)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._web.run)
                task_status.started()
                await self._listener.serve(self._web.connect)
        finally:
            self.close()
            with trio.CancelScope(shield=True):
                await self.transport.aclose()

    def close(self) -> None:
        """Refuse new connections, at once."""
        self._listener.close()
        if self._web is not None:
            self._web.closing = True

    async def drain(self) -> None:
        """Refuse new connections, and wait until the calls it is answering have been answered."""
        if self._web is not None:
            await self._web.finish()
        await self._listener.drain()


async def open_network_endpoint(config: NodeConfig) -> NetworkEndpoint:
    """Listen on the configured address.

    Raises:
        AddressInUse: another program does.
        ConfigError: the address isn't this machine's, or would open the node to others without protection.
    """
    config.check_bind()
    return NetworkEndpoint(await open_listener(config), config)
