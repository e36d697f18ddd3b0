"""What a driver adds to the links of one node: connections, time, and nodes without links."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from trionet.identity import NodeAddress
    from trionet.transports.base import Request

__all__ = ["LinkDriver"]


class LinkDriver(ABC):
    """The base of `LinkTransport`."""

    @abstractmethod
    def dial(self, node: NodeAddress) -> None:
        """Start a connection attempt; it ends with a call of `add` or `dialed`."""

    async def keep_time(self) -> None:
        """Call each link's `advance` at its deadline, until cancelled."""
        await trio.sleep_forever()

    def knows_links(self, node: NodeAddress) -> bool:
        """Whether `node` supports links, as far as known."""
        return True

    async def call_without_link(self, node: NodeAddress, request: Request) -> Any:
        """Make a call to a node without links."""
        raise NotImplementedError

    def stream_without_link(
        self, node: NodeAddress, request: Request
    ) -> AbstractAsyncContextManager[AsyncGenerator[Any]]:
        """Start a stream at a node without links."""
        raise NotImplementedError
