"""A node's place on a memory fabric: its links, its datagrams and its clock."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

import trio

from trionet.transports.datagrams import QueuedDatagrams

from .clock import NodeClock
from .host import Host
from .link import MemoryTransport
from .rules import StreamMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.identity import NodeAddress
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.base import Handler, Lives
    from trionet.transports.shown import Pages

    from .carrier import Carrier
    from .rules import Message

__all__ = ["MemoryEndpoint"]


class MemoryEndpoint(Host):
    """Fulfils `trionet.transports.base.Endpoint` on a fabric.

    Attributes:
        keys: the keys that seal its traffic, if there are any.
        transport: makes its calls.
        datagrams: sends and receives its datagrams; None if they are disabled.
        clock: its clock.
        app: None: there is no HTTP.
        pages: not shown: there is no HTTP.
        has_real_address: False: every node of a fabric reaches every address.
    """

    app = None
    has_real_address = False
    requests_refused = 0
    pages: Pages | None = None

    def __init__(
        self,
        carrier: Carrier[Any],
        address: NodeAddress,
        handler: Handler,
        config: NodeConfig,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys,
    ) -> None:
        super().__init__(address, carrier.pump, carrier.randoms_of(address))
        self.keys = keys
        self.clock: NodeClock = NodeClock(self)
        self.transport: MemoryTransport = MemoryTransport(carrier, self, config, handler, on_orphan, keys)
        self.datagrams: QueuedDatagrams | None = None
        if config.datagrams:
            self.datagrams = QueuedDatagrams(functools.partial(carrier.send_datagram, weakref.proxy(self)))
        self._carrier = carrier

    @property
    def certificates(self) -> None:
        """None; see `Endpoint.certificates`."""
        return None

    @property
    def reloads(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """None; see `Endpoint.reloads`."""
        return {}

    @property
    def links(self) -> MemoryTransport:
        """See `Endpoint.links`."""
        return self.transport

    @property
    def connections_refused(self) -> int:
        """See `Endpoint.connections_refused`."""
        return self.transport.refused

    def set_members(self, is_member: Callable[[NodeAddress], bool]) -> None:
        """See `Endpoint.set_members`."""
        self.transport.is_member = is_member

    def set_lives(self, lives: Lives) -> None:
        """See `Endpoint.set_lives`."""
        self.transport.handshakes.lives = lives

    async def can_connect(self, node: NodeAddress) -> bool:
        """Return True; see `Endpoint.can_connect`."""
        await trio.lowlevel.checkpoint()
        return True

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle calls until cancelled."""
        self._carrier.endpoints[self.address] = self
        try:
            await self.transport.run(task_status=task_status)
        finally:
            self.bring_down("this node has stopped")

    def bring_down(self, reason: str, *, is_silent: bool = False) -> None:
        """Stop the host: its links break, and it receives nothing more; see `MemoryFabric.crash`."""
        if self.is_down:
            return
        if self._carrier.endpoints.get(self.address) is self:
            del self._carrier.endpoints[self.address]
        self.free()
        self.transport.bring_down(reason, is_silent=is_silent)
        self.fall()

    def close(self) -> None:
        """Refuse new calls, at once."""
        self.transport.retire("the node is stopping")

    async def drain(self) -> None:
        """Refuse new calls, and wait until the calls in progress are answered."""
        self.close()
        await self.transport.drained()

    def handle(self, message: Message) -> None:
        """Handle a message."""
        observer = self._carrier.observer
        if observer is not None:
            observer.delivered(message, self.pump.time())
        if isinstance(message, StreamMessage):
            self.transport.receive(message)
        elif self.datagrams is not None:
            self.datagrams.put(message.data, message.source)
