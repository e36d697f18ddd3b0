"""The answer to a packet of the protocols that came by a call.

Invariants: nearly every answer is None, as it is from a node of an earlier version; unknown fields, and fields of a
wrong type, are ignored. An answer tells the sender of the packet only about that packet and about its own address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trionet.identity import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PacketAnswer", "answer_from"]


class PacketAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a node answers to a packet, besides handling it.

    Attributes:
        node: the node that answers.
        unknown_groups: the gids of rumors that it has dropped, because it doesn't know these groups.
        refused_by: its own name, if it has refused the sender as a member.
        unreachable: the name of the sender, if it can't connect to it.
    """

    node: NodeAddress
    unknown_groups: tuple[str, ...] = ()
    refused_by: str = ""
    unreachable: str = ""

    def to_wire(self) -> dict[str, Any] | None:
        """Return it as plain data; None if there is nothing to tell."""
        told = {name: getattr(self, name) for name in _FIELDS if getattr(self, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()} or None


_FIELDS = tuple(name for name in PacketAnswer.__struct_fields__ if name != "node")


def answer_from(node: NodeAddress, wire: object) -> PacketAnswer:
    """Return the answer of `node` in a call's value, whatever that is."""
    fields: Mapping[Any, Any] = wire if isinstance(wire, dict) else {}
    gids, refused_by, unreachable = map(fields.get, _FIELDS)
    return PacketAnswer(
        node=node,
        unknown_groups=tuple(gid for gid in gids if isinstance(gid, str)) if isinstance(gids, list) else (),
        refused_by=refused_by if isinstance(refused_by, str) else "",
        unreachable=unreachable if isinstance(unreachable, str) else "",
    )
