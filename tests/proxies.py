"""A proxy on the way of connections, which can divert, record and change what goes by."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trionet import NodeAddress

__all__ = ["Proxy", "open_proxy"]


class Proxy:
    """Forwards connections.

    Attributes:
        target: where to.
        address: where it listens.
        sent, answered: all bytes so far, of those who connect, and of the target.
        change: applied to all that those who connect send.
    """

    def __init__(self, target: NodeAddress) -> None:
        self.target = target
        self.address = target
        self.sent = b""
        self.answered = b""
        self.change: Callable[[bytes], bytes] = lambda data: data
        self._others: list[trio.SocketStream] = []

    async def forward(self, stream: trio.SocketStream) -> None:
        """Pass on what comes by one connection, until a side ends it."""
        async with (
            await trio.open_tcp_stream(self.target.ip, self.target.port) as other,
            trio.open_nursery() as nursery,
        ):
            self._others.append(other)
            nursery.start_soon(self._copy, other, stream, nursery.cancel_scope)
            async for data in stream:
                self.sent += data
                await other.send_all(self.change(bytes(data)))
            await other.send_eof()

    async def cut(self, last: bytes) -> None:
        """End all connections; the target is sent these bytes before."""
        for other in self._others:
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await other.send_all(last)
            await other.aclose()
        self._others.clear()

    async def _copy(self, source: trio.SocketStream, to: trio.SocketStream, scope: trio.CancelScope) -> None:
        async for data in source:
            self.answered += data
            await to.send_all(data)
        scope.cancel()


@asynccontextmanager
async def open_proxy(target: NodeAddress, port: int = 0) -> AsyncGenerator[Proxy]:
    """Run a proxy, on a free port or this one, for as long as the block lasts."""
    proxy = Proxy(target)
    async with serving(proxy.forward, port) as proxy.address:
        yield proxy
