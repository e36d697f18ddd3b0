"""The settings of a group: a small map that all its members have, and those that come late, too."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from trionet.replies import Receipt
from trionet.services.base import rpc

from .base import Template
from .fan_out import collect

if TYPE_CHECKING:
    from trionet.identity import NodeAddress
    from trionet.protocols.mux import Packet
    from trionet.replies import Replies

__all__ = ["GroupSettings"]


class GroupSettings(Template):
    """The group-wide service ``settings``.

    Each method reads or writes the map of this node; writes spread by gossip. All of them raise `ConfigError` on a node
    that belongs to no cluster, and `GroupNotFound` when the group has been deleted.
    """

    @rpc
    async def put(self, key: str, value: Any) -> Receipt:
        """Write a setting; it holds here at once, and reaches all members, and those that come later.

        Returns once the first hop has it. Of several writes of one key the last one holds, on every node, by hybrid
        time.

        Args:
            key: a text of 1 to 128 bytes as UTF-8.
            value: whatever travels in calls, at most 16 KiB encoded.

        Returns:
            The id of this write, and the maps of the first hop; see also `Receipt.wait_spread`.

        Raises:
            MalformedRequest: the key is no such text.
            EncodeError: the value can't travel.
            MessageTooLarge: the value is too long, or the map is full.
            TemporarilyUnavailable: the node is stopping.
        """
        self.context.members()
        return await self._hand_over(*self.context.local.settings.begin_put(self.context.gid, key, value))

    @rpc
    async def del_(self, key: str) -> Receipt:
        """Remove a setting, on all nodes.

        Returns:
            The same as `put`.

        Raises:
            KeyDoesNotExist: this node knows no such setting.
            MalformedRequest: the key is no text of 1 to 128 bytes.
            TemporarilyUnavailable: the node is stopping.
        """
        self.context.members()
        return await self._hand_over(*self.context.local.settings.begin_removal(self.context.gid, key))

    @rpc(read=True)
    async def get(self, key: str) -> Any:
        """Return the value of a setting, as far as this node knows.

        Raises:
            KeyDoesNotExist: there is none.
            DecodeError: this node can't decode the value, because a type is not registered here.
            MalformedRequest: the key is no text of 1 to 128 bytes.
        """
        self.context.members()
        return self.context.local.settings.get(self.context.gid, key)

    @rpc(read=True)
    async def items(self) -> dict[str, Any]:
        """Return all settings that this node knows, in the order of their keys.

        A `DecodeError` is in the place of each value that it can't decode.
        """
        self.context.members()
        return self.context.local.settings.items(self.context.gid)

    @rpc(read=True)
    async def wait(self, key: str) -> Any:
        """Wait until a setting exists here; return its value.

        Raises:
            DecodeError: this node can't decode the value.
            MalformedRequest: the key is no text of 1 to 128 bytes.
            TemporarilyUnavailable: the node is stopping.
        """
        self.context.members()
        return await self.context.local.settings.wait(self.context.gid, key)

    async def _hand_over(self, written_id: str, packets: dict[NodeAddress, Packet]) -> Receipt:
        gossip = self.context.local.gossip
        members = {node.sid: node for node in packets}
        replies: Replies[bool] = await collect(members, lambda node: gossip.hand_over(node, packets[node]))
        wait = functools.partial(gossip.wait_spread, self.context.gid, written_id)
        return Receipt(written_id, replies.values, replies.errors, wait)
