"""The network of trionet nodes inside Maelstrom nodes: one in each, which Maelstrom's messages reach.

Invariant: there is one endpoint, that of the latest node; a message without one is answered with an error.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from trionet.errors import ConfigError, NodeUnreachable
from trionet.runtime import open_node

from .transport import MaelstromEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.node import Node
    from trionet.security.live_keys import LiveKeys
    from trionet.transports.base import Handler

    from .envelope import Envelope
    from .node import MaelstromNode

__all__ = ["MaelstromFabric", "open_maelstrom_node"]


def open_maelstrom_node(
    maelstrom: MaelstromFabric, config: NodeConfig | None = None
) -> AbstractAsyncContextManager[Node]:
    """Run a trionet node inside of a Maelstrom node, for as long as the block lasts; see `trionet.open_node`.

    Call it once the Maelstrom node is initialised, in a function that its `background` decorates.

    Args:
        maelstrom: created before the Maelstrom node runs.
        config: its address is ignored.
    """
    return open_node(config, fabric=maelstrom, random=maelstrom.node.random)


class MaelstromFabric:
    """The connection of the trionet nodes inside Maelstrom nodes; create it before the Maelstrom node runs.

    Clients may call the services, too: the reply to a message of type ``"service/method"``, with the arguments as a
    list ``args``, has the ``value``.

    Attributes:
        node: the Maelstrom node.
        default_launcher: nodes spawn others in this process.
    """

    default_launcher = "in_process"

    def __init__(self, node: MaelstromNode) -> None:
        self.node: MaelstromNode = node
        self._endpoint: MaelstromEndpoint | None = None
        node.on("trionet_call")(self._receive_call)
        node.on("trionet_stream")(self._receive_call)
        node.on("trionet_cancel")(self._receive_cancel)
        node.on("trionet_item")(self._receive_item)
        node.on("trionet_datagram")(self._receive_datagram)
        node.on("*")(self._receive_any)

    def endpoint(self, config: NodeConfig, handler: Handler) -> MaelstromEndpoint:
        """Return the place of the one trionet node."""
        self._endpoint = MaelstromEndpoint(self.node, handler, config)
        return self._endpoint

    async def open_endpoint(
        self,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys | None = None,
    ) -> MaelstromEndpoint:
        """Return the place of the one trionet node. A cancelled call is not waited for, so that none is an orphan.

        Raises:
            ConfigError: there are keys: Maelstrom reads and routes each message.
        """
        del on_orphan
        if keys:
            raise ConfigError("a node in Maelstrom has no keys: leave out key_file")
        return self.endpoint(config, handler)

    def on_open(self, node: Node) -> None:
        """The node is there; nothing needs to be done."""

    def _serving(self) -> MaelstromEndpoint:
        if self._endpoint is None:
            raise NodeUnreachable(f"there is no trionet node in {self.node.id}")
        return self._endpoint

    def _receive_call(self, message: Envelope) -> None:
        self._serving().receive_call(message)

    def _receive_any(self, message: Envelope) -> None:
        self._serving().receive_client_call(message)

    def _receive_cancel(self, message: Envelope) -> None:
        self._serving().cancel(message.src, message["call"])

    async def _receive_item(self, message: Envelope) -> dict[str, object]:
        return await self._serving().transport.receive_item(message)

    def _receive_datagram(self, message: Envelope) -> None:
        if self._endpoint is not None and self._endpoint.datagrams is not None:
            self._endpoint.datagrams.put(base64.b64decode(message["data"]))
