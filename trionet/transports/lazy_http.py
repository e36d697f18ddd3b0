"""The HTTP transport, made on first use: the import of httpx takes a tenth of a second."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from trionet.codec import JSON
from trionet.errors import NodeUnreachable
from trionet.security.live_keys import LiveKeys

from .base import STOPPED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates

    from .base import Request, Sending
    from .http import HTTPTransport

__all__ = ["LazyHTTPTransport"]


class LazyHTTPTransport:
    """Fulfils `trionet.transports.base.Transport` with an `HTTPTransport`, made on first use."""

    def __init__(
        self, config: NodeConfig, keys: LiveKeys | None = None, certificates: Certificates | None = None
    ) -> None:
        self.codec: Codec = JSON.limited(config.max_message_containers)
        self._config = config
        self._keys = LiveKeys() if keys is None else keys
        self._certificates = certificates
        self._made: HTTPTransport | None = None
        self._is_closed = False

    def _transport(self) -> HTTPTransport:
        if self._is_closed:
            raise NodeUnreachable(STOPPED)
        if self._made is None:
            from .http import HTTPTransport

            self._made = HTTPTransport(self._config, self._keys, self._certificates)
        return self._made

    async def call(self, node: NodeAddress, request: Request) -> Any:
        """Send `request` to `node` and return its value."""
        return await self._transport().call(node, request)

    @asynccontextmanager
    async def stream(self, node: NodeAddress, request: Request) -> AsyncGenerator[AsyncGenerator[Any]]:
        """Start a stream at `node`."""
        async with self._transport().stream(node, request) as items:
            yield items

    def in_progress(self) -> list[Sending]:
        """Return the calls and streams that have not ended."""
        return [] if self._made is None else self._made.in_progress()

    async def aclose(self) -> None:
        """Close all connections, and refuse new ones."""
        self._is_closed = True
        if self._made is not None:
            await self._made.aclose()
