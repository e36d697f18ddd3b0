"""Node-local services: one file each, on `base`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .comm import Comm
    from .gossip import Gossip
    from .groups import Groups
    from .kept import Kept
    from .membership import Membership
    from .replicated import Replicated
    from .routes import Routes
    from .status import Status

__all__ = ["LocalServices"]


class LocalServices(NamedTuple):
    """The built-in services of one node, as ``node.local``; the user's are in ``routes``.

    Attributes:
        replicated: the replicated maps, which are no service: other nodes don't call them.
    """

    status: Status
    groups: Groups
    routes: Routes
    comm: Comm
    gossip: Gossip
    membership: Membership
    replicated: Replicated
    kept: Kept
