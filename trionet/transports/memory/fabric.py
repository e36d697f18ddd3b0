"""The network of nodes in one process.

Every message is encoded and decoded, as on a real network.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trionet.errors import AddressInUse, ConfigError
from trionet.identity import NodeAddress
from trionet.security.live_keys import LiveKeys

from .carrier import Carrier
from .endpoint import MemoryEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trionet.config import NodeConfig
    from trionet.events import OrphanedCall
    from trionet.transports.base import Handler
    from trionet.transports.datagrams import QueuedDatagrams

    from .carrier import Observer
    from .rules import Rule

__all__ = ["MemoryFabric"]


class MemoryFabric(Carrier[MemoryEndpoint]):
    """The network of the in-memory endpoints of one process.

    Attributes:
        on_open: called with each node that is opened on it, before the node runs.
        watched: returns the handler to use in place of a node's own, for recording.
        default_launcher: nodes spawn others in this process.
    """

    default_launcher = "in_process"

    def __init__(self, *, seed: object = 0, observer: Observer | None = None) -> None:
        super().__init__(seed, observer)
        self.on_open: Callable[[Any], None] = _ignore
        self.watched: Callable[[NodeAddress, Handler], Handler] = _as_it_is
        self._free_ports = itertools.count(1)

    def endpoint(
        self,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None] | None = None,
        keys: LiveKeys | None = None,
    ) -> MemoryEndpoint:
        """Return an endpoint for a node, at the configured address; port 0 selects the next free one.

        Raises:
            AddressInUse: another node uses the address.
            ConfigError: the node has a certificate.
        """
        if config.certificate_file is not None:
            raise ConfigError("certificate_file: there is no TLS within one process; use a network, or no certificate")
        address = NodeAddress(config.ip, config.port or next(self._free_ports))
        if address in self.endpoints:
            raise AddressInUse(f"{address} is already in use")
        handler, keys = self.watched(address, handler), LiveKeys() if keys is None else keys
        return MemoryEndpoint(self, address, handler, config, on_orphan or _ignore, keys)

    async def open_endpoint(
        self,
        config: NodeConfig,
        handler: Handler,
        on_orphan: Callable[[OrphanedCall], None],
        keys: LiveKeys | None = None,
    ) -> MemoryEndpoint:
        """Return an endpoint for a node; see `endpoint`."""
        return self.endpoint(config, handler, on_orphan, keys)

    @contextmanager
    def rule(self, *rules: Rule) -> Generator[None]:
        """Apply `rules` before all others, within the block."""
        self.add_rules(*rules)
        try:
            yield
        finally:
            self.remove_rules(*rules)

    def add_rules(self, *rules: Rule) -> None:
        """Apply `rules` before all others."""
        self.set_rules([*rules, *self.rules])

    def remove_rules(self, *rules: Rule) -> None:
        """Remove `rules`."""
        self.set_rules([one for one in self.rules if not any(one is rule for rule in rules)])

    def crash(self, address: NodeAddress, *, is_silent: bool = False) -> None:
        """Crash a node: it sends and receives nothing more.

        Args:
            address: the node's.
            is_silent: whether its host goes down, too: then its peers receive no resets.
        """
        endpoint = self.endpoints.get(address)
        if endpoint is not None:
            endpoint.bring_down("the node has crashed", is_silent=is_silent)
        if is_silent:
            self.dark.add(address)

    @property
    def datagrams(self) -> dict[NodeAddress, QueuedDatagrams]:
        """The datagrams of each endpoint that has them enabled, by address."""
        return {node: one.datagrams for node, one in self.endpoints.items() if one.datagrams is not None}

    def carry(self, to: NodeAddress, data: bytes) -> None:
        """Deliver a datagram without a sender, at once."""
        endpoint = self.endpoints.get(to)
        if endpoint is not None and endpoint.datagrams is not None:
            endpoint.datagrams.put(data)


def _ignore(_: Any) -> None: ...


def _as_it_is(_: NodeAddress, handler: Handler) -> Handler:
    return handler
