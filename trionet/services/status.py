"""A node's figures, its children, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from trionet.config import NodeConfig
from trionet.errors import MalformedRequest, PreconditionFailed, UnknownKey
from trionet.identity import NodeAddress

from .base import rpc
from .heap import heap_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from trionet.reloading import Reloading
    from trionet.router import Router

    class Lifecycle(Protocol):
        """The node of a `Status`."""

        @property
        def address(self) -> NodeAddress:
            """Its address."""

        def stop(self) -> None:
            """Begin to stop; repeated calls have no effect."""

        @property
        def reloading(self) -> Reloading:
            """The files that it can read again."""

        async def spawn(self, config: NodeConfig) -> NodeAddress:
            """Start a child node, which ends with this one; return its address once it has booted."""


__all__ = ["Status", "with_settings"]


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

    @rpc(read=True)
    async def get(self, key: str) -> Any:
        """Return one figure.

        Args:
            key: ``nid``, ``sid``, ``ip`` (text); ``port``; ``counts``, the served calls, this one included;
                ``heap_total``, bytes of private memory of the process; ``heap_used``, its resident bytes (see
                `trionet.services.heap`).

        Raises:
            UnknownKey: there is no such key.
        """
        getter = self._getters.get(key) if isinstance(key, str) else None
        if getter is None:
            raise UnknownKey(f"status has no {key!r:.80}; there are {', '.join(self._getters)}")
        return getter()

    @rpc
    async def stop(self) -> NodeAddress:
        """Stop the node after the answer to this call: it refuses connections, and its scope ends.

        A second call has no effect.

        Returns:
            The node's address.
        """
        self._node.stop()
        return self._node.address

    @rpc
    async def reload(self) -> None:
        """Read the files of the node's configuration again: its keys and certificate.

        Raises:
            ConfigError: one can't be used; all stays as it was.
            NotPermitted: the node has no key yet, and is not on loopback: send its process SIGHUP.
            PreconditionFailed: its configuration names no such file.
        """
        if not self._node.reloading:
            raise PreconditionFailed(
                f"node {self._node.address} has no files to read again: no key_file, no certificate"
            )
        await self._node.reloading.reload()

    @rpc
    async def spawn(
        self,
        config: NodeConfig,
        *,
        launcher: str | None = None,
        restart: Literal["never", "on_failure", "always"] | None = None,
        detach: bool | None = None,
    ) -> NodeAddress:
        """Start a node, by default in a new process; return its address once it has booted.

        It is this node's child: it stops when this node stops or dies.

        Args:
            config: the new node's, or a dict of its settings.
            launcher: in place of that of `config`.
            restart: likewise.
            detach: likewise.

        Raises:
            SpawnError: it did not boot; the text is its reason.
            ConfigError: there is no such launcher.
            EncodeError: its `on_start` can't be imported by another process.
        """
        wanted = {"launcher": launcher, "restart": restart, "detach": detach}
        given = {name: value for name, value in wanted.items() if value is not None}
        return await self._node.spawn(with_settings(config, given))


def with_settings(config: Any, given: Mapping[str, Any]) -> NodeConfig:
    """Return `config`, or a configuration from a dict of settings, with the settings of `given` replaced.

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
