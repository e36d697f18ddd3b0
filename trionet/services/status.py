"""What a node says about itself, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from trionet.config import NodeConfig
from trionet.errors import MalformedRequest, UnknownKey
from trionet.identity import NodeAddress

from .base import rpc
from .heap import heap_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.router import Router

__all__ = ["Lifecycle", "Status", "with_settings"]


class Lifecycle(Protocol):
    """What `Status` needs of the node it belongs to."""

    @property
    def address(self) -> NodeAddress:
        """Where the node listens."""

    def stop(self) -> None:
        """Begin to stop; harmless when it has begun already."""

    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Start a node that lives no longer than this one, and return its address once it has booted."""


class Status:
    """The local service ``status``."""

    def __init__(self, node: Lifecycle, router: Router) -> None:
        self._node = node
        self._getters: Final[dict[str, Callable[[], Any]]] = {
            "nid": lambda: node.address.nid,
            "sid": lambda: node.address.sid,
            "ip": lambda: node.address.ip,
            "port": lambda: node.address.port,
            "counts": lambda: router.served,
            "heap_total": lambda: heap_bytes().total,
            "heap_used": lambda: heap_bytes().used,
        }

    @rpc
    async def get(self, key: str) -> Any:
        """Return one figure.

        Args:
            key: ``nid``, ``sid``, ``ip`` (text); ``port``; ``counts``, the calls that the node has served, this one
                included; ``heap_total``, bytes of private memory that the process's allocators hold; ``heap_used``,
                bytes of it in use, that is, backed by pages (see `trionet.services.heap`).

        Raises:
            UnknownKey: there is no such key.
        """
        getter = self._getters.get(key) if isinstance(key, str) else None
        if getter is None:
            raise UnknownKey(f"status has no {key!r:.80}; there are {', '.join(self._getters)}")
        return getter()

    @rpc
    async def stop(self) -> NodeAddress:
        """Stop the node once this call has been answered: it then refuses connections, and its scope ends.

        A second call is harmless.

        Returns:
            The address that the node had.
        """
        self._node.stop()
        return self._node.address

    @rpc
    async def spawn(
        self,
        config: NodeConfig,
        *,
        launcher: str | None = None,
        restart: Literal["never", "on_failure", "always"] | None = None,
        detach: bool | None = None,
    ) -> NodeAddress:
        """Start a node, by default in a process of its own, and return its address once it has booted.

        It is this node's child: when this one stops, or dies in whatever way, the child stops.

        Args:
            config: the new node's, or a dict of its settings.
            launcher: in place of that of `config`.
            restart: likewise.
            detach: likewise.

        Raises:
            SpawnError: it did not boot; the text is its own reason.
            ConfigError: there is no such launcher.
            EncodeError: its `on_start` can't be imported by another process.
        """
        wanted = {"launcher": launcher, "restart": restart, "detach": detach}
        given = {name: value for name, value in wanted.items() if value is not None}
        return await self._node.spawn(with_settings(config, given))


def with_settings(config: Any, given: Mapping[str, Any]) -> NodeConfig:
    """Return `config`, be it a dict of settings, with those of `given` in their place.

    Raises:
        MalformedRequest: it is neither.
        ConfigError: a setting is unknown or has a wrong value.
    """
    if isinstance(config, Mapping):
        return NodeConfig.from_mapping({**config, **given})
    if not isinstance(config, NodeConfig):
        raise MalformedRequest(
            f"a node is made from a configuration: trionet.NodeConfig(), or a dict of settings; not {config!r:.80}"
        )
    return msgspec.structs.replace(config, **given) if given else config
