"""Which of two links with one peer carries new calls.

When both sides connect at the same time, both prefer the link of the smaller address, and the other link becomes idle.
Otherwise a new link replaces an older one, which may belong to a previous boot of the peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trionet.identity import NodeAddress
    from trionet.protocols.link.core import LinkCore

__all__ = ["takes_over"]

_FRESH_S: Final = 5.0


def takes_over(new: LinkCore, other: LinkCore, own: NodeAddress | None, node: NodeAddress) -> bool:
    """Return whether a new link between `own` and `node` takes over from the other one."""
    if other.is_retired or new.opened_at - other.opened_at >= _FRESH_S or other.key_id != new.key_id:
        return True
    is_own_smaller = own is None or own < node
    return other.is_initiator != is_own_smaller or new.is_initiator == other.is_initiator
