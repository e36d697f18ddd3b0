"""A member of a cluster, as one node sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trionet.codec import register_type
from trionet.identity import SID, NodeAddress
from trionet.protocols.statements import State

from .protocol_driver import address_of

if TYPE_CHECKING:
    from trionet.protocols.swim_events import MemberInfo

__all__ = ["Member", "member_of"]

_STATUS: Final = {State.ALIVE: "alive", State.SUSPECT: "suspect", State.DEAD: "failed", State.LEFT: "left"}


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a cluster, as one node sees it.

    Attributes:
        node: its address.
        status: ``alive``; ``suspect``, which still counts as a member; ``failed``; ``left``.
        incarnation: the number of its latest statement; only the member itself raises it.
        tags: its published properties.
    """

    node: NodeAddress
    status: str
    incarnation: int
    tags: dict[str, str]

    @property
    def sid(self) -> SID:
        """Its short identifier."""
        return self.node.sid


register_type(Member, name="trionet:Member")


def member_of(info: MemberInfo) -> Member | None:
    """Return a member of the protocol; None if its name is no address."""
    node = address_of(info.name)
    if node is None:
        return None
    return Member(node=node, status=_STATUS[info.state], incarnation=info.incarnation, tags=dict(info.tags))
