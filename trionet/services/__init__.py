"""Node-local services: one file each, on `base`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from .code_trust import CodeTrust
    from .comm import Comm
    from .diagnosis import Diagnosis
    from .gossip import Gossip
    from .groups import Groups
    from .inspection import Inspection
    from .kept import Kept
    from .keys import Keys
    from .membership import Membership
    from .replicated import Replicated
    from .routes import Routes
    from .settings import Settings
    from .status import Status

__all__ = ["LocalServices"]


class LocalServices(NamedTuple):
    """The built-in services of one node, as ``node.local``; the user's are in ``routes``.

    Attributes:
        replicated, settings: the replicated maps, and the settings in them; other nodes can't call these, because each
            group has a service of its own.
        code: the code by value that the node sends and reads; no service.
    """

    status: Status
    groups: Groups
    routes: Routes
    comm: Comm
    gossip: Gossip
    membership: Membership
    replicated: Replicated
    kept: Kept
    settings: Settings
    code: CodeTrust
    keys: Keys
    diagnosis: Diagnosis
    inspection: Inspection


def _missing(self: LocalServices, name: str) -> NoReturn:
    raise AttributeError(
        f"node.local has trionet's own services and no {name!r}: call yours by node.call(address, Class.method), or "
        f"node.local.comm.send([...], trionet.Remote(node=..., service={name!r}, method=...))",
        name=name,
        obj=self,
    )


if not TYPE_CHECKING:  # a NamedTuple takes no statements but fields, and type checkers refuse other names already
    LocalServices.__getattr__ = _missing
