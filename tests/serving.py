"""Servers of a test beside the nodes: connections end as their peers please, and no test fails by that."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from trionet import NodeAddress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Serve = Callable[[trio.SocketStream], Awaitable[object]]

__all__ = ["serve_listener", "serving"]


async def serve_listener(serve: Serve, listener: trio.SocketListener) -> None:
    """Run `serve` for each connection, and close that then; a connection that its peer has ended ends only itself.

    A node that stops resets its connections, and nobody listens any more: at any moment, so in any step of `serve`.
    """

    async def alone(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await serve(stream)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    await trio.serve_listeners(alone, [listener])


@asynccontextmanager
async def serving(serve: Serve, port: int = 0) -> AsyncGenerator[NodeAddress]:
    """Run such a server, on a free port or this one, for as long as the block lasts; yield its address."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        nursery.start_soon(serve_listener, serve, listener)
        yield NodeAddress("127.0.0.1", listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()
