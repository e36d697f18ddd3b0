"""Clients of the services that Maelstrom runs beside the nodes: three key-value stores, and a source of timestamps.

Invariant: after a `DefiniteError` (`KeyDoesNotExist`, `PreconditionFailed`) the request has had no effect. Source:
Maelstrom, ``doc/services.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from trionet.errors import KeyDoesNotExist, MalformedRequest

if TYPE_CHECKING:
    from .node import MaelstromNode

__all__ = ["KV", "TSO"]

_Service = Literal["lin-kv", "seq-kv", "lww-kv"]


class KV:
    """A key-value store; keys and values are any JSON.

    ``lin-kv`` is linearizable. ``seq-kv`` is sequentially consistent: a read may be stale, but never older than the
    reads and writes of this node. ``lww-kv`` promises next to nothing: a value may stay invisible for ever.

    Args:
        node: sends the requests.
        service: the store's name.
    """

    def __init__(self, node: MaelstromNode, service: _Service = "lin-kv") -> None:
        self._node = node
        self.service: _Service = service

    async def read(self, key: Any) -> Any:
        """Return the value of `key`.

        Raises:
            KeyDoesNotExist: it has none.
        """
        return (await self._node.rpc(self.service, {"type": "read", "key": key})).get("value")

    async def read_or(self, key: Any, default: Any) -> Any:
        """Return the value of `key`, or `default` if it has none."""
        try:
            return await self.read(key)
        except KeyDoesNotExist:
            return default

    async def write(self, key: Any, value: Any) -> None:
        """Set `key` to `value`."""
        await self._node.rpc(self.service, {"type": "write", "key": key, "value": value})

    async def cas(self, key: Any, from_: Any, to: Any, *, create_if_not_exists: bool = False) -> None:
        """Set `key` to `to` if its value is `from_`.

        Args:
            key: the key.
            from_: the expected value.
            to: the new value.
            create_if_not_exists: whether to create a missing key.

        Raises:
            KeyDoesNotExist: it has no value.
            PreconditionFailed: it has another one.
            MalformedRequest: ``lww-kv`` does not support `create_if_not_exists`.
        """
        body = {"type": "cas", "key": key, "from": from_, "to": to}
        if create_if_not_exists:
            if self.service == "lww-kv":
                raise MalformedRequest("lww-kv does not support create_if_not_exists")
            body["create_if_not_exists"] = True
        await self._node.rpc(self.service, body)


class TSO:
    """A source of timestamps, ``lin-tso``: 0, 1, 2 and so on, each once.

    Args:
        node: sends the requests.
    """

    def __init__(self, node: MaelstromNode) -> None:
        self._node = node

    async def ts(self) -> int:
        """Return the next timestamp: above all earlier ones."""
        stamp: int = (await self._node.rpc("lin-tso", {"type": "ts"}))["ts"]
        return stamp
